// /v1/files. Uploads go to disk as they come, downloads come from disk in pieces: no file is ever
// in memory as a whole.
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "api/format.hpp"
#include "net/exchange.hpp"
#include "net/multipart.hpp"
#include "net/query.hpp"
#include "net/routes.hpp"

namespace tandem::net {
namespace {

namespace asio = boost::asio;
constexpr std::uint64_t multipart_overhead_bytes = 64 << 10;
constexpr std::size_t piece_bytes = 64 << 10;
/// As OpenAI: input files of batches go away by themselves.
constexpr std::int64_t batch_file_seconds = 30 * 24 * 3600;

/// An open file; closed with it.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  bool close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 || ::close(fd) == 0;
  }

 private:
  int fd_;
};

/// A file under the store's incoming folder; removed again unless it is handed over.
class Upload {
 public:
  explicit Upload(std::string path)
      : path_(std::move(path)),
        file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)),
        owned_(file_.is_open()) {}
  ~Upload() {
    if (owned_) ::unlink(path_.c_str());
  }
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  [[nodiscard]] bool is_open() const { return file_.is_open(); }
  [[nodiscard]] const std::string& path() const { return path_; }

  std::optional<Error> write(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return failed();
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return std::nullopt;
  }
  std::optional<Error> close() { return file_.close() ? std::nullopt : std::optional(failed()); }
  /// The queue owns it now.
  void hand_over() { owned_ = false; }

 private:
  static Error failed() {
    return error(Errc::storage_failed, errno == ENOSPC || errno == EDQUOT
                                           ? "the store's disk is full"
                                           : "the upload could not be written to the store's disk");
  }

  const std::string path_;
  Descriptor file_;
  bool owned_;
};

Error bad_field(std::string message, std::string param) {
  return error(Errc::invalid_value, std::move(message), std::move(param));
}

/// What the form's fields ask for.
Result<msg::AddFile> read_form(const MultipartParser& form) {
  msg::AddFile add;
  if (!form.has_file()) return bad_field("the form has no part named 'file'", "file");
  add.filename = form.filename();
  if (add.filename.empty() || add.filename.size() > 512)
    return bad_field("a filename has 1 to 512 bytes", "file");
  const auto& fields = form.fields();
  const auto purpose = fields.find("purpose");
  if (purpose == fields.end() || (purpose->second != "batch" && purpose->second != "user_data"))
    return bad_field("purpose must be 'batch' or 'user_data'", "purpose");
  add.purpose = purpose->second;
  for (const auto& [name, value] : fields)
    if (name != "purpose" && name != "expires_after[anchor]" && name != "expires_after[seconds]")
      return bad_field("the form knows file, purpose and expires_after only", name.substr(0, 128));
  const auto anchor = fields.find("expires_after[anchor]");
  const auto seconds = fields.find("expires_after[seconds]");
  if ((anchor == fields.end()) != (seconds == fields.end()))
    return bad_field("expires_after needs both anchor and seconds", "expires_after");
  if (anchor == fields.end()) {
    if (add.purpose == "batch") add.expires_after_seconds = batch_file_seconds;
    return add;
  }
  if (anchor->second != "created_at")
    return bad_field("the only anchor is 'created_at'", "expires_after[anchor]");
  const auto& text = seconds->second;
  std::int64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size() || value < 3600 || value > 2592000)
    return bad_field("seconds must be a whole number from 3600 to 2592000",
                     "expires_after[seconds]");
  add.expires_after_seconds = value;
  return add;
}

struct Range {
  std::uint64_t first = 0, count = 0;
};

/// One range of `size` bytes that "bytes=…" names. Nothing: not satisfiable, or not one range.
std::optional<Range> parse_range(std::string_view text, std::uint64_t size) {
  if (!text.starts_with("bytes=")) return std::nullopt;
  text.remove_prefix(6);
  const auto dash = text.find('-');
  if (dash == text.npos) return std::nullopt;
  const auto number = [](std::string_view digits) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto* end = digits.data() + digits.size();
    const auto [stop, failed] = std::from_chars(digits.data(), end, value);
    if (digits.empty() || failed != std::errc{} || stop != end) return std::nullopt;
    return value;
  };
  const auto low = text.substr(0, dash), high = text.substr(dash + 1);
  const auto first = number(low), last = number(high);
  if (low.empty()) {
    if (!last || *last == 0 || size == 0) return std::nullopt;
    const auto count = std::min(*last, size);
    return Range{size - count, count};
  }
  if (!first || *first >= size || (!last && !high.empty())) return std::nullopt;
  const auto end = last ? std::min(*last, size - 1) : size - 1;
  if (end < *first) return std::nullopt;
  return Range{*first, end - *first + 1};
}

/// Whether a list of entity tags (If-None-Match) names this one; weak ones count.
bool names_tag(std::string_view list, std::string_view tag) {
  return list == "*" || list.find(tag) != list.npos;  // tags are quoted: none is part of another
}

/// Sends a part of an open file at the pace of its reader.
asio::awaitable<void> send_file(Exchange& exchange, const Descriptor& file, Range range) {
  std::string piece;
  auto& connection = *exchange.connection;
  const auto& options = exchange.services.options;
  while (range.count > 0) {
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(range.count, piece_bytes)));
    const auto bytes =
        ::pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(range.first));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) {
      // The promised length cannot be kept; only a broken connection says so.
      connection.abort();
      co_return;
    }
    connection.send({piece.data(), static_cast<std::size_t>(bytes)});
    range.first += static_cast<std::uint64_t>(bytes);
    range.count -= static_cast<std::uint64_t>(bytes);
    if (!co_await connection.drain_to(options.merge_above_bytes, options.write_timeout)) co_return;
  }
}

}  // namespace

asio::awaitable<void> post_files(Exchange& exchange) {
  const auto boundary = multipart_boundary(exchange.head.value("content-type"));
  if (!boundary) co_return exchange.fail(boundary.error());
  const auto place = co_await exchange.services.bridge.ask(msg::NewUpload{});
  if (!place) co_return exchange.fail(place.error());
  Upload upload(place->path);
  if (!upload.is_open())
    co_return exchange.fail(
        error(Errc::storage_failed, "the upload could not be created on the store's disk"));

  MultipartLimits limits;
  limits.max_file_bytes = exchange.services.options.max_upload_bytes;
  MultipartParser form(*boundary, limits,
                       [&upload](std::string_view bytes) { return upload.write(bytes); });
  const bool complete = co_await exchange.read_body(
      limits.max_file_bytes + multipart_overhead_bytes, [&](std::string_view piece) {
        if (exchange.replied()) return;
        if (const auto failed = form.feed(piece)) exchange.fail(*failed);
      });
  if (!complete || exchange.replied()) co_return;
  if (const auto failed = form.finish()) co_return exchange.fail(*failed);
  auto add = read_form(form);
  if (!add) co_return exchange.fail(add.error());
  if (const auto failed = upload.close()) co_return exchange.fail(*failed);
  add->uploaded_path = upload.path();
  upload.hand_over();
  const auto file = co_await exchange.services.bridge.ask(std::move(*add));
  if (file)
    exchange.reply_json(api::file_object(*file));
  else
    exchange.fail(file.error());
}

asio::awaitable<void> list_files(Exchange& exchange) {
  const auto& query = exchange.head.query;
  const auto limit = query_number(query, "limit", 1, 10000, 10000);
  if (!limit) co_return exchange.fail(limit.error());
  const auto order = query_value(query, "order").value_or("desc");
  if (order != "asc" && order != "desc")
    co_return exchange.fail(bad_field("order must be 'asc' or 'desc'", "order"));
  msg::ListFiles list;
  list.limit = *limit;
  list.ascending = order == "asc";
  list.purpose = query_value(query, "purpose").value_or("");
  if (!list.purpose.empty() && list.purpose != "batch" && list.purpose != "user_data" &&
      list.purpose != "batch_output")
    co_return exchange.fail(
        bad_field("purpose must be 'batch', 'batch_output' or 'user_data'", "purpose"));
  list.after = query_value(query, "after").value_or("");
  const auto page = co_await exchange.services.bridge.ask(std::move(list));
  if (page)
    exchange.reply_json(api::file_list(page->files, page->has_more));
  else
    exchange.fail(page.error());
}

asio::awaitable<void> get_file(Exchange& exchange) {
  msg::GetFile get{exchange.parameters.at(0)};
  const auto file = co_await exchange.services.bridge.ask(std::move(get));
  if (file)
    exchange.reply_json(api::file_object(file->info));
  else
    exchange.fail(file.error());
}

asio::awaitable<void> get_file_content(Exchange& exchange) {
  msg::GetFile get{exchange.parameters.at(0)};
  const auto file = co_await exchange.services.bridge.ask(std::move(get));
  if (!file) co_return exchange.fail(file.error());
  const Descriptor open(::open(file->path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat facts {};
  if (!open.is_open() || ::fstat(open.get(), &facts) != 0)
    co_return exchange.fail(error(Errc::not_found, "the file is gone from the store"));
  const auto size = static_cast<std::uint64_t>(facts.st_size);
  const auto tag = '"' + file->info.id + '"';  // the content of an id never changes
  Fields fields{{"Accept-Ranges", "bytes"}, {"ETag", tag}, {"Content-Disposition", "attachment"}};
  if (names_tag(exchange.head.value("if-none-match"), tag)) {
    exchange.begin_reply(304, "application/octet-stream", size, fields);
    co_return;
  }
  Range range{0, size};
  int status = 200;
  const auto* condition = exchange.head.find("if-range");
  const auto* wanted = exchange.head.find("range");
  if (wanted != nullptr && (condition == nullptr || *condition == tag)) {
    const auto part = parse_range(*wanted, size);
    if (!part)
      co_return exchange.fail(416, Errc::invalid_value,
                              "Range must name one range of bytes inside the file",
                              {{"Content-Range", "bytes */" + std::to_string(size)}});
    range = *part;
    status = 206;
    fields.emplace_back("Content-Range", "bytes " + std::to_string(range.first) + '-' +
                                             std::to_string(range.first + range.count - 1) + '/' +
                                             std::to_string(size));
  }
  exchange.begin_reply(status, "application/octet-stream", range.count, fields);
  if (exchange.head.method != "HEAD") co_await send_file(exchange, open, range);
}

asio::awaitable<void> delete_file(Exchange& exchange) {
  const auto& id = exchange.parameters.at(0);
  msg::RemoveFile remove{id};
  const auto removed = co_await exchange.services.bridge.ask(std::move(remove));
  if (removed)
    exchange.reply_json(api::file_deleted(id));
  else
    exchange.fail(removed.error());
}

}  // namespace tandem::net
