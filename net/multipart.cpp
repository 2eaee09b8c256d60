#include "net/multipart.hpp"

#include <algorithm>

namespace tandem::net {
namespace {

Error bad(std::string message, std::string param = {}) {
  return error(Errc::invalid_value, std::move(message), std::move(param));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (auto& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// "type; name=value; name=\"quoted value\"": the leading type in lower case and the parameters.
/// Empty on malformed input.
struct Parameters {
  std::string type;
  std::map<std::string, std::string> values;
};

/// Reads a quoted string that starts at text[0] == '"'; only \" and \\ are escapes, since browsers
/// send Windows paths with bare backslashes. Returns what follows it, or nothing.
std::optional<std::string_view> read_quoted(std::string_view text, std::string& out) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') return text.substr(i + 1);
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\')) ++i;
    out.push_back(text[i]);
  }
  return std::nullopt;
}

std::optional<Parameters> parse_parameters(std::string_view text) {
  Parameters out;
  const auto semicolon = text.find(';');
  out.type = lower(trimmed(text.substr(0, semicolon)));
  text = semicolon == text.npos ? std::string_view() : text.substr(semicolon + 1);
  while (!(text = trimmed(text)).empty()) {
    const auto equal = text.find('=');
    if (equal == text.npos) return std::nullopt;
    auto name = lower(trimmed(text.substr(0, equal)));
    text = trimmed(text.substr(equal + 1));
    std::string value;
    if (!text.empty() && text.front() == '"') {
      const auto rest = read_quoted(text, value);
      if (!rest) return std::nullopt;
      text = trimmed(*rest);
    } else {
      const auto end = std::min(text.find(';'), text.size());
      value = trimmed(text.substr(0, end));
      text = text.substr(end);
    }
    if (!out.values.emplace(std::move(name), std::move(value)).second) return std::nullopt;
    if (text.empty()) break;
    if (text.front() != ';') return std::nullopt;
    text.remove_prefix(1);
  }
  return out;
}

}  // namespace

Result<std::string> multipart_boundary(std::string_view content_type) {
  const auto parsed = parse_parameters(content_type);
  if (!parsed || parsed->type != "multipart/form-data")
    return bad("the body must be multipart/form-data", "Content-Type");
  const auto found = parsed->values.find("boundary");
  if (found == parsed->values.end() || found->second.empty() || found->second.size() > 70)
    return bad("multipart/form-data needs a boundary of 1 to 70 characters", "Content-Type");
  for (const char c : found->second)
    if (static_cast<unsigned char>(c) < 0x20 || c > 0x7e)
      return bad("the multipart boundary holds a character that is not printable ASCII",
                 "Content-Type");
  return found->second;
}

MultipartParser::MultipartParser(std::string_view boundary, MultipartLimits limits, FileSink sink)
    : delimiter_("\r\n--" + std::string(boundary)), limits_(limits), sink_(std::move(sink)) {}

std::optional<Error> MultipartParser::feed(std::string_view bytes) {
  if (state_ == State::epilogue) return std::nullopt;
  buffer_.append(bytes);
  for (bool progress = true; progress;) {
    progress = false;
    if (auto failed = step(progress)) return failed;
  }
  return std::nullopt;
}

std::optional<Error> MultipartParser::finish() {
  if (state_ == State::epilogue) return std::nullopt;
  return bad("the multipart body ends without its closing boundary");
}

std::optional<Error> MultipartParser::step(bool& progress) {
  switch (state_) {
    case State::preamble: return find_first_boundary(progress);
    case State::after_boundary: return read_after_boundary(progress);
    case State::header: return read_header(progress);
    case State::content: return read_content(progress);
    case State::epilogue: buffer_.clear(); return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Error> MultipartParser::find_first_boundary(bool& progress) {
  const auto found = buffer_.find(delimiter_);
  if (found != buffer_.npos) {
    buffer_.erase(0, found + delimiter_.size());
    state_ = State::after_boundary;
    progress = true;
  } else if (buffer_.size() > limits_.max_part_header_bytes) {
    return bad("the multipart body does not begin with its boundary");
  }
  return std::nullopt;
}

std::optional<Error> MultipartParser::read_after_boundary(bool& progress) {
  // "--" closes the body; else optional blanks (RFC 2046's transport padding) and a line end
  // follow.
  if (buffer_.size() < 2) return std::nullopt;
  if (buffer_.starts_with("--")) {
    state_ = State::epilogue;
    buffer_.clear();
    return std::nullopt;
  }
  const auto end = buffer_.find_first_not_of(" \t");
  if (end == buffer_.npos || buffer_.size() < end + 2) {
    if (buffer_.size() > 256) return bad("a multipart boundary line is malformed");
    return std::nullopt;
  }
  if (buffer_.compare(end, 2, "\r\n") != 0 || end > 256)
    return bad("a multipart boundary line is malformed");
  if (++parts_ > limits_.max_parts)
    return bad("the multipart body has more than " + std::to_string(limits_.max_parts) + " parts");
  buffer_.erase(0, end);  // its line end stays: an empty header is CR LF CR LF then
  state_ = State::header;
  progress = true;
  return std::nullopt;
}

std::optional<Error> MultipartParser::read_header(bool& progress) {
  const auto end = buffer_.find("\r\n\r\n");
  if (end == buffer_.npos || end > limits_.max_part_header_bytes) {
    if (buffer_.size() > limits_.max_part_header_bytes)
      return bad("a part's header is larger than " + std::to_string(limits_.max_part_header_bytes) +
                 " bytes");
    return std::nullopt;
  }
  if (auto failed = begin_part(std::string_view(buffer_).substr(0, end))) return failed;
  buffer_.erase(0, end + 4);
  state_ = State::content;
  progress = true;
  return std::nullopt;
}

std::optional<Error> MultipartParser::begin_part(std::string_view header) {
  std::optional<Parameters> disposition;
  while (!header.empty()) {
    header.remove_prefix(2);  // the line end before each line
    const auto end = std::min(header.find("\r\n"), header.size());
    const auto line = header.substr(0, end);
    header.remove_prefix(end);
    const auto colon = line.find(':');
    if (colon == line.npos) return bad("a part's header line has no ':'");
    if (lower(line.substr(0, colon)) != "content-disposition") continue;
    if (disposition) return bad("a part has two Content-Disposition lines");
    disposition = parse_parameters(line.substr(colon + 1));
    if (!disposition || disposition->type != "form-data")
      return bad("a part's Content-Disposition must be form-data with well-formed parameters");
  }
  const auto* values = disposition ? &disposition->values : nullptr;
  if (values == nullptr || !values->contains("name") || values->at("name").empty())
    return bad("a part has no Content-Disposition with a name");
  const auto& name = values->at("name");
  if (name == "file") {
    if (has_file_) return bad("only one file can be sent at a time", "file");
    has_file_ = true;
    field_name_.clear();
    const auto given = values->find("filename");
    filename_ = given == values->end() ? "file" : given->second;
    return std::nullopt;
  }
  if (!fields_.emplace(name, std::string()).second)
    return bad("the field is given more than once", name);
  field_name_ = name;
  return std::nullopt;
}

std::optional<Error> MultipartParser::read_content(bool& progress) {
  const auto found = buffer_.find(delimiter_);
  if (found != buffer_.npos) {
    if (auto failed = take(std::string_view(buffer_).substr(0, found))) return failed;
    buffer_.erase(0, found + delimiter_.size());
    state_ = State::after_boundary;
    progress = true;
    return std::nullopt;
  }
  // All but a possible beginning of the delimiter is content.
  if (buffer_.size() < delimiter_.size()) return std::nullopt;
  const auto safe = buffer_.size() - (delimiter_.size() - 1);
  if (auto failed = take(std::string_view(buffer_).substr(0, safe))) return failed;
  buffer_.erase(0, safe);
  return std::nullopt;
}

std::optional<Error> MultipartParser::take(std::string_view content) {
  if (content.empty()) return std::nullopt;
  if (field_name_.empty()) {
    if (content.size() > limits_.max_file_bytes - file_bytes_)
      return error(Errc::too_large,
                   "the file is larger than " + std::to_string(limits_.max_file_bytes) + " bytes",
                   "file");
    file_bytes_ += content.size();
    return sink_(content);
  }
  auto& value = fields_[field_name_];
  if (value.size() + content.size() > limits_.max_field_bytes)
    return error(Errc::too_large,
                 "the field is larger than " + std::to_string(limits_.max_field_bytes) + " bytes",
                 field_name_);
  value.append(content);
  return std::nullopt;
}

}  // namespace tandem::net
