// See batch_client.hpp.
#include "sim/batch_client.hpp"

#include <boost/json.hpp>
#include <charconv>
#include <fstream>

#include "core/check.hpp"
#include "sim/ask.hpp"

namespace tandem::sim {
namespace {

namespace json = boost::json;

/// Simulated batches have no deadline: one that no run reaches.
constexpr std::int64_t endless_window_seconds = std::int64_t{10} * 365 * 86400;

void append(std::string& text, std::uint64_t number) {
  char digits[20];
  text.append(digits, std::to_chars(std::begin(digits), std::end(digits), number).ptr);
}

bool has_ended(store::BatchState state) {
  using store::BatchState;
  return state == BatchState::completed || state == BatchState::failed ||
         state == BatchState::expired || state == BatchState::cancelled;
}

}  // namespace

template <class T, class Message>
Result<T> BatchClient::ask(Message message) {
  const auto answer = sim::ask<msg::Reply<T>>(*virtual_time_, queue_, std::move(message));
  virtual_time_->run();
  if (!answer->value) return error(Errc::device_failed, "the offline queue died");
  return std::move(answer->value->value);
}

/// A line per item; its number is its name and its seed, so that the item can be told from its
/// request.
Result<void> BatchClient::write(const std::string& path,
                                const std::vector<OfflineItem>& items) const {
  std::ofstream out(path, std::ios::binary);
  std::string line;
  for (const OfflineItem& item : items) {
    const std::uint64_t number = item.number(*workload_);
    line = R"({"custom_id":")";
    append(line, number);
    line += R"(","method":"POST","url":"/v1/completions","body":{"model":")" + model_ +
            R"(","ignore_eos":true,"seed":)";
    append(line, number);
    line += R"(,"max_tokens":)";
    const auto& request = workload_->requests[item.index];
    append(line, static_cast<std::uint64_t>(request.output_tokens.value()));
    line += R"(,"prompt":[)";
    for (const TokenId token : prompt_of(*workload_, item.index, vocab_size_, item.repetition)) {
      append(line, static_cast<std::uint64_t>(token));
      line += ',';
    }
    line.back() = ']';
    line += "}}\n";
    out << line;
  }
  if (out.flush()) return {};
  return error(Errc::storage_failed, path + ": cannot be written");
}

Result<void> BatchClient::push(const std::vector<OfflineItem>& items) {
  const auto upload = ask<msg::UploadPath>(msg::NewUpload{});
  if (!upload) return upload.error();
  if (auto written = write(upload->path, items); !written) return written;
  const auto file =
      ask<store::FileInfo>(msg::AddFile{upload->path, "items.jsonl", "batch", std::nullopt});
  if (!file) return file.error();
  msg::CreateBatch create{.input_file_id = file->id, .endpoint = "/v1/completions"};
  create.completion_window = "24h";
  create.window_seconds = endless_window_seconds;
  const auto batch = ask<store::BatchInfo>(std::move(create));
  if (!batch) return batch.error();
  const auto validated = ask<store::BatchInfo>(msg::GetBatch{batch->id});
  if (!validated) return validated.error();
  if (validated->state == store::BatchState::failed) {
    const auto& first = validated->errors.front();
    const auto line = static_cast<std::size_t>(first.line.value_or(1));
    return error(Errc::invalid_value, workload_->name + ": request " +
                                          std::to_string(items.at(line - 1).index + 1) +
                                          " is no batch item: " + first.message);
  }
  open_.push_back(batch->id);
  items_pushed_ += items.size();
  return {};
}

Result<std::vector<OfflineItem>> BatchClient::read_errors(const std::string& file_id) {
  std::vector<OfflineItem> items;
  if (file_id.empty()) return items;
  const auto file = ask<msg::FileOnDisk>(msg::GetFile{file_id});
  if (!file) return file.error();
  std::ifstream in(file->path);
  const std::uint64_t size = workload_->requests.size();
  for (std::string line; std::getline(in, line);) {
    const json::value value = json::parse(line);  // the store wrote it
    const auto& name = value.at("custom_id").as_string();
    std::uint64_t number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    items.push_back({static_cast<std::size_t>(number % size), number / size});
  }
  return items;
}

Result<std::vector<OfflineItem>> BatchClient::collect() {
  std::vector<OfflineItem> given_up;
  std::vector<std::string> still_open;
  for (const std::string& id : open_) {
    const auto batch = ask<store::BatchInfo>(msg::GetBatch{id});
    if (!batch) return batch.error();
    if (!has_ended(batch->state)) {
      still_open.push_back(id);
      continue;
    }
    const auto items = read_errors(batch->error_file_id);
    if (!items) return items.error();
    TANDEM_CHECK(batch->completed + batch->failed == batch->total &&
                     batch->failed == static_cast<std::int64_t>(items->size()),
                 "a batch that has ended has a result or an error for each of its items");
    given_up.insert(given_up.end(), items->begin(), items->end());
    for (const auto& file : {batch->input_file_id, batch->output_file_id, batch->error_file_id})
      if (!file.empty())
        if (auto removed = ask<msg::Nothing>(msg::RemoveFile{file}); !removed)
          return removed.error();
  }
  open_ = std::move(still_open);
  return given_up;
}

}  // namespace tandem::sim
