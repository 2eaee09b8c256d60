// See fake_device.hpp.
#include "tests/policy/fake_device.hpp"

#include <algorithm>
#include <set>

namespace tandem::test {
namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9e3779b97f4a7c15ULL ^ (b + 0x7f4a7c15ULL + (a << 6) + (a >> 2));
  x = (x ^ (x >> 31)) * 0xd6e8feb86659fd93ULL;
  return x ^ (x >> 32);
}

std::uint64_t root(const Request& request) { return mix(0x5eed, request.cache_namespace); }

std::string name(const Slice& slice) {
  return "request " + std::to_string(raw(slice.id)) + " at " + std::to_string(slice.context) + "+" +
         std::to_string(slice.num_tokens) + ": ";
}

}  // namespace

void require(bool condition, const std::string& what) {
  if (!condition) throw Violation{what};
}

FakeDevice::FakeDevice(const Options& options)
    : options_(options),
      random_(options.seed),
      kv_(options.num_blocks * static_cast<std::size_t>(kv_block_tokens), 0),
      slots_(options.num_slots) {}

void FakeDevice::know(const RequestPtr& request) {
  truths_[request->id] = Truth{request, request->prompt, {}};
}

TokenId FakeDevice::token_of(Entry entry) const {
  return static_cast<TokenId>(mix(entry, 0x70cull) % static_cast<std::uint64_t>(options_.vocab));
}

void FakeDevice::extend(Truth& truth) const {
  for (std::size_t i = truth.entries.size(); i < truth.tokens.size(); ++i) {
    const Entry before = i == 0 ? root(*truth.request) : truth.entries[i - 1];
    truth.entries.push_back(mix(before, static_cast<std::uint64_t>(truth.tokens[i])));
  }
}

std::vector<TokenId> FakeDevice::expected_output(const Request& request, std::size_t count) const {
  Entry entry = root(request);
  for (const TokenId token : request.prompt) entry = mix(entry, static_cast<std::uint64_t>(token));
  std::vector<TokenId> output;
  for (std::size_t i = 0; i < count; ++i) {
    output.push_back(token_of(entry));
    entry = mix(entry, static_cast<std::uint64_t>(output.back()));
  }
  return output;
}

FakeDevice::Entry& FakeDevice::entry(const Slice& slice, std::size_t position) {
  const auto size = static_cast<std::size_t>(kv_block_tokens);
  const BlockId block = (*slice.blocks)[position / size];
  return kv_[raw(block) * size + position % size];
}

void FakeDevice::launched(const PlanPtr& plan) {
  require(raw(plan->id) == next_id_++, "plan ids are consecutive");
  check_layout(*plan);
  check_exclusive(*plan);
  plans_.push_back(plan);
}

void FakeDevice::check_layout(const Plan& plan) const {
  require(!plan.slices.empty(), "a plan has slices");
  require(plan.num_rows() <= options_.max_rows, "a plan keeps to the token budget");
  std::set<RequestId> ids;
  for (const Slice& slice : plan.slices) {
    require(ids.insert(slice.id).second, name(slice) + "one slice for each request");
    require(truths_.contains(slice.id), name(slice) + "the request is known");
    require(truths_.at(slice.id).request->request_class == slice.request_class,
            name(slice) + "the class is the request's");
    require(slice.num_tokens > 0, name(slice) + "a slice has tokens");
    require(raw(slice.slot) < slots_.size(), name(slice) + "the slot exists");
    require(slice.tokens.count == 0 || slice.tokens.count == slice.num_tokens,
            name(slice) + "all tokens or none are given");
    require(slice.tokens.first + slice.tokens.count <= plan.token_ids.size(),
            name(slice) + "tokens lie in the plan");
    require(slice.blocks != nullptr, name(slice) + "a slice has a block table");
    const Tokens positions(slice.context + slice.num_tokens);
    require(Blocks(static_cast<std::int64_t>(slice.blocks->size())) >= blocks_for(positions),
            name(slice) + "blocks suffice");
    for (const BlockId block : *slice.blocks)
      require(raw(block) < options_.num_blocks, name(slice) + "blocks exist");
  }
}

/// A block that a plan in flight, this one included, writes for one request is in no other
/// request's table; a slot that one names belongs to one request.
void FakeDevice::check_exclusive(const Plan& plan) const {
  std::map<BlockId, RequestId> writers;
  std::map<SlotId, RequestId> owners;
  const auto each_slice = [&](const auto& visit) {
    for (const auto& flying : plans_)
      for (const Slice& slice : flying->slices) visit(slice);
    for (const Slice& slice : plan.slices) visit(slice);
  };
  each_slice([&](const Slice& slice) {
    require(owners.emplace(slice.slot, slice.id).first->second == slice.id,
            name(slice) + "its slot is used by another request in flight");
    const std::size_t first = slice.context / static_cast<std::uint32_t>(kv_block_tokens);
    for (std::size_t b = first; b < slice.blocks->size(); ++b)
      require(writers.emplace((*slice.blocks)[b], slice.id).first->second == slice.id,
              name(slice) + "two requests in flight write one block");
  });
  each_slice([&](const Slice& slice) {
    for (const BlockId block : *slice.blocks) {
      const auto writer = writers.find(block);
      require(writer == writers.end() || writer->second == slice.id,
              name(slice) + "its table has a block that another request in flight writes");
    }
  });
}

ReportPtr FakeDevice::report(Outcome outcome) {
  const PlanPtr plan = plans_.front();
  plans_.pop_front();
  auto report = std::make_shared<IterationReport>();
  report->id = plan->id;
  report->outcome = outcome;
  const bool is_void = void_plans_ > 0;
  if (is_void) --void_plans_;
  if (outcome == Outcome::done && !is_void) {
    bind(*plan);
    run(*plan, *report);
    return report;
  }
  if (outcome == Outcome::failed) report->error = error(Errc::device_failed, "made to fail");
  if (outcome == Outcome::done) {
    for (std::uint32_t i = 0; i < plan->slices.size(); ++i)
      if (plan->slices[i].samples) report->samples.push_back({i, 0, 0, {}});
  }
  if (outcome == Outcome::done || random_() % 2 == 0) bind(*plan);
  leave_garbage(*plan, outcome == Outcome::done);
  if (!is_void) void_plans_ = plans_.size();
  return report;
}

void FakeDevice::bind(const Plan& plan) {
  for (const SlotBinding& binding : plan.bindings) {
    require(binding.request != nullptr, "a binding names its request");
    Slot& slot = slots_[raw(binding.slot)];
    slot.id = binding.request->id;
    slot.bound = true;
    slot.output = binding.output;
  }
}

void FakeDevice::run(const Plan& plan, IterationReport& report) {
  std::map<std::uint32_t, TokenId> samples;
  for (std::uint32_t i = 0; i < plan.slices.size(); ++i) run_slice(plan, i, report);
  for (const Sample& sample : report.samples) samples[sample.slice] = sample.token;
  last_samples_ = std::move(samples);
  last_done_ = plan.id;
  last_ids_.clear();
  for (const Slice& slice : plan.slices) last_ids_.push_back(slice.id);
}

TokenId FakeDevice::input_token(const Plan& plan, const Slice& slice, std::uint32_t row) const {
  if (slice.tokens.count > 0) return plan.tokens_of(slice)[row];
  require(raw(last_done_) + 1 == raw(plan.id), name(slice) + "its source is the plan before");
  require(slice.num_tokens == 1, name(slice) + "only one token can be still to be sampled");
  const auto sample = last_samples_.find(slice.source_slice);
  require(sample != last_samples_.end(), name(slice) + "the slice it names did sample");
  require(last_ids_[slice.source_slice] == slice.id, name(slice) + "the slice it names is its own");
  return sample->second;
}

void FakeDevice::run_slice(const Plan& plan, std::uint32_t index, IterationReport& report) {
  const Slice& slice = plan.slices[index];
  Truth& truth = truths_.at(slice.id);
  extend(truth);
  require(slice.context + slice.num_tokens <= truth.tokens.size(),
          name(slice) + "it runs tokens that there are");
  for (std::size_t i = 0; i < slice.context; ++i)
    require(entry(slice, i) == truth.entries[i],
            name(slice) + "the KV entry of position " + std::to_string(i) + " is not its own");
  for (std::uint32_t row = 0; row < slice.num_tokens; ++row) {
    const std::size_t position = slice.context + row;
    require(input_token(plan, slice, row) == truth.tokens[position],
            name(slice) + "row " + std::to_string(row) + " has a wrong token");
    entry(slice, position) = truth.entries[position];
  }
  const std::size_t prompt = truth.request->prompt.size();
  require(slice.decode == (slice.samples && slice.num_tokens == 1 && slice.context >= prompt),
          name(slice) + "decode says that the one token was generated");
  const bool reaches_end = slice.context + slice.num_tokens == truth.tokens.size();
  require(slice.samples == reaches_end, name(slice) + "it samples where its tokens end");
  if (!slice.samples) return;
  Slot& slot = slots_[raw(slice.slot)];
  require(slot.bound && slot.id == slice.id, name(slice) + "its slot was bound to it");
  require(
      std::equal(slot.output.begin(), slot.output.end(),
                 truth.tokens.begin() + static_cast<std::ptrdiff_t>(prompt), truth.tokens.end()),
      name(slice) + "its slot's sampler knows another output");
  const TokenId token = token_of(truth.entries.back());
  slot.output.push_back(token);
  truth.tokens.push_back(token);
  report.samples.push_back({index, token, 0, {}});
}

void FakeDevice::leave_garbage(const Plan& plan, bool ran_to_the_end) {
  for (const Slice& slice : plan.slices) {
    for (std::uint32_t row = 0; row < slice.num_tokens; ++row)
      if (ran_to_the_end || random_() % 2 == 0) entry(slice, slice.context + row) = random_();
    Slot& slot = slots_[raw(slice.slot)];
    if (ran_to_the_end && slice.samples && slot.id == slice.id) slot.output.push_back(0);
  }
}

}  // namespace tandem::test
