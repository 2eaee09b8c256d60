// See progress.hpp.
#include "cli/client/progress.hpp"

#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace tandem::client {
namespace {
constexpr std::int64_t bar_width = 30;
}

Progress::Progress(std::string label)
    : label_(std::move(label)), terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { erase(); }

void Progress::update(std::int64_t done, std::int64_t total, const std::string& note) {
  if (total <= 0) return;
  done = std::clamp<std::int64_t>(done, 0, total);
  const auto counts = std::to_string(done) + "/" + std::to_string(total);
  if (terminal_) {
    const auto filled = static_cast<std::size_t>(bar_width * done / total);
    line_ = label_ + " [" + std::string(filled, '#') +
            std::string(static_cast<std::size_t>(bar_width) - filled, '.') + "] " + counts + "  " +
            note;
    draw();
    return;
  }
  const auto tenth = static_cast<int>(10 * done / total);
  if (tenth == last_tenth_) return;
  last_tenth_ = tenth;
  std::fprintf(stderr, "%s %s  %s\n", label_.c_str(), counts.c_str(), note.c_str());
}

void Progress::around(const std::function<void()>& write) {
  erase();
  write();
  draw();
}

void Progress::draw() const {
  if (terminal_ && !line_.empty()) std::fprintf(stderr, "\r\033[K%s", line_.c_str());
}

void Progress::erase() const {
  if (terminal_ && !line_.empty()) std::fputs("\r\033[K", stderr);
}

std::string printable(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // C1 controls are U+0080 .. U+009F: C2 80 .. C2 9F in UTF-8.
    const bool c1 =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (c1)
      ++i;
    else if ((byte >= 0x20 && byte != 0x7F) || byte == '\n' || byte == '\t')
      result += text[i];
  }
  return result;
}

}  // namespace tandem::client
