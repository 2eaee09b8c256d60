// The order in which the offline queue hands out items: by shared prefix over all batches, by
// deadline where it is near, over restarts, and without what was cancelled.
#include "tests/actors/offline_queue_fixture.hpp"

namespace tandem::tests {
namespace {

using namespace std::chrono_literals;

/// A line whose prompt begins with 32 tokens of `family` and ends with 8 of its own.
std::string sharing_line(const std::string& custom_id, int family, int own) {
  std::string prompt;
  for (int i = 0; i < 40; ++i)
    prompt += (i == 0 ? "" : ",") + std::to_string(i < 32 ? 10 * family + 5 : 40 + own % 50);
  return line(custom_id, "\"max_tokens\":4,\"prompt\":[" + prompt + "]");
}

/// `count` lines of families 1 and 2 in turns.
std::string mixed_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += sharing_line("c" + std::to_string(i), 1 + i % 2, i);
  return text;
}

int family_of(const RequestPtr& request) { return request->prompt.at(0) / 10; }
std::vector<int> families_of(const std::vector<RequestPtr>& requests) {
  std::vector<int> out;
  for (const auto& request : requests) out.push_back(family_of(request));
  return out;
}
int changes(const std::vector<int>& families) {
  int count = 0;
  for (std::size_t i = 1; i < families.size(); ++i) count += families[i] != families[i - 1];
  return count;
}

struct FcfsFixture : QueueFixture {
  FcfsFixture() : QueueFixture({.order = {.rule = policy::OrderRule::fcfs}}) {}
};

}  // namespace

TEST_CASE_METHOD(QueueFixture, "items that begin alike are handed out together") {
  create(mixed_lines(10));
  CHECK(families_of(refill(10)) == std::vector{1, 1, 1, 1, 1, 2, 2, 2, 2, 2});
}

TEST_CASE_METHOD(FcfsFixture, "fcfs hands them out by line") {
  create(mixed_lines(6));
  CHECK(families_of(refill(6)) == std::vector{1, 2, 1, 2, 1, 2});
}

TEST_CASE_METHOD(QueueFixture, "items of different batches share as well, over small refills") {
  create(mixed_lines(6));
  create(mixed_lines(6));
  std::vector<int> families;
  for (int i = 0; i < 6; ++i)
    for (const auto& request : refill(2)) families.push_back(family_of(request));
  CHECK(families.size() == 12);
  CHECK(changes(families) == 1);
}

TEST_CASE_METHOD(QueueFixture, "all of a long batch is read before it is asked for") {
  create(mixed_lines(300));  // several portions
  const auto first = refill(150);
  CHECK(changes(families_of(first)) <= 2);  // at most one passed over too long
  generate(first);
  const auto second = refill(256);
  CHECK(second.size() == 150);
}

TEST_CASE_METHOD(QueueFixture, "after a restart the rest is read anew and handed out in order") {
  const auto id = create(mixed_lines(10));
  auto requests = refill(3);
  std::vector<TokenEvent> events;
  for (const auto& request : requests) events.push_back(ending(request, FinishReason::stop));
  emit(std::move(events));
  refill(2);  // claimed, and lost with the process
  restart();
  requests = refill(10);
  CHECK(families_of(requests) == std::vector{2, 2, 2, 2, 2, 1, 1});  // the oldest is of family 2
  events.clear();
  for (const auto& request : requests) events.push_back(ending(request, FinishReason::stop));
  emit(std::move(events));
  CHECK(batch(id).state == store::BatchState::completed);
  CHECK(batch(id).completed == 10);
}

TEST_CASE_METHOD(QueueFixture, "a cancelled batch's items leave the order") {
  const auto cancelled = create(mixed_lines(6));
  create(mixed_lines(4));
  const auto first = refill(1);
  REQUIRE(ask<store::BatchInfo>(msg::CancelBatch{cancelled}).has_value());
  const auto rest = refill(10);
  CHECK(rest.size() == 4);
  CHECK(changes(families_of(rest)) == 1);
}

TEST_CASE_METHOD(QueueFixture, "items of a batch whose deadline is near go before all others") {
  create(mixed_lines(6));
  create(sharing_line("urgent", 3, 0) + sharing_line("urgent too", 3, 1), 50);
  virtual_time->advance(2s);
  CHECK(families_of(refill(4)) == std::vector{3, 3, 1, 1});
}

TEST_CASE_METHOD(QueueFixture, "what the engine gives back is handed out again, in its place") {
  const auto id = create(mixed_lines(8));
  const auto requests = refill(4);  // family 1
  emit({ending(requests[1], FinishReason::failed)});
  generate({requests[0], requests[2], requests[3]});
  const auto rest = refill(10);
  CHECK(families_of(rest) == std::vector{1, 2, 2, 2, 2});
  CHECK(batch(id).completed == 3);
}

TEST_CASE_METHOD(QueueFixture,
                 "an item that is wrong by itself still gets its error, in its turn") {
  const auto id = create(mixed_lines(2) + line("bad", "\"max_tokens\":100000,\"prompt\":[7]"));
  const auto requests = refill(10);
  CHECK(requests.size() == 2);
  std::vector<TokenEvent> events;
  for (const auto& request : requests) events.push_back(ending(request, FinishReason::stop));
  emit(std::move(events));
  CHECK(batch(id).state == store::BatchState::completed);
  CHECK(batch(id).failed == 1);
}

}  // namespace tandem::tests
