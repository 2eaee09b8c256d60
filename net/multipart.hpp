// multipart/form-data (RFC 7578), read piece by piece: fields go to memory, bounded; the one file
// goes to a callback as it comes. A plain state machine, without I/O; how the body is cut into
// pieces never changes the outcome.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace tandem::net {

struct MultipartLimits {
  std::size_t max_parts = 16;
  std::size_t max_part_header_bytes = 4096;
  std::size_t max_field_bytes = 4096;
  std::uint64_t max_file_bytes = 200ULL << 20;
};

/// The boundary that a Content-Type names, or an error if it is not multipart/form-data with a
/// boundary of 1 to 70 characters.
Result<std::string> multipart_boundary(std::string_view content_type);

class MultipartParser {
 public:
  /// Takes the file's bytes in order; returns an error to stop.
  using FileSink = std::function<std::optional<Error>(std::string_view)>;

  MultipartParser(std::string_view boundary, MultipartLimits limits, FileSink sink);

  /// Takes the body's next bytes. After an error nothing more may be fed.
  std::optional<Error> feed(std::string_view bytes);
  /// The body has ended: an error if the closing boundary was not seen.
  std::optional<Error> finish();

  [[nodiscard]] const std::map<std::string, std::string>& fields() const { return fields_; }
  [[nodiscard]] bool has_file() const { return has_file_; }
  [[nodiscard]] const std::string& filename() const { return filename_; }
  [[nodiscard]] std::uint64_t file_bytes() const { return file_bytes_; }

 private:
  enum class State { preamble, after_boundary, header, content, epilogue };

  std::optional<Error> step(bool& progress);
  std::optional<Error> find_first_boundary(bool& progress);
  std::optional<Error> read_after_boundary(bool& progress);
  std::optional<Error> read_header(bool& progress);
  std::optional<Error> read_content(bool& progress);
  std::optional<Error> begin_part(std::string_view header);
  std::optional<Error> take(std::string_view content);

  std::string delimiter_;  ///< CR LF "--" boundary
  MultipartLimits limits_;
  FileSink sink_;
  State state_ = State::preamble;
  std::string buffer_ = "\r\n";  ///< not yet understood; a first boundary needs no line end before
  std::size_t parts_ = 0;
  std::string field_name_;  ///< of the part at hand; empty: it is the file
  std::map<std::string, std::string> fields_;
  bool has_file_ = false;
  std::string filename_;
  std::uint64_t file_bytes_ = 0;
};

}  // namespace tandem::net
