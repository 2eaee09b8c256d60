// ServeGen client files (arXiv 2505.09999): for each client of a service how fast and how bursty
// it calls in each window of time, and how long its prompts and answers are. They say what traffic
// is like, not what it was; requests are drawn from them, by seed.
#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <map>
#include <random>

#include "sim/trace_builder.hpp"

namespace tandem::sim {
namespace json = boost::json;
namespace {

constexpr std::uintmax_t largest_lengths = 64 << 20;
constexpr std::size_t most_clients = 4096;

struct Window {
  double start = 0, rate = 0;  ///< seconds on the files' clock, requests per second
  bool weibull = false;        ///< else Gamma
  double shape = 1;
};

/// How long prompts or answers are: token counts and their weights.
struct Lengths {
  std::vector<std::int64_t> tokens;
  std::vector<double> weights;
  [[nodiscard]] std::int64_t draw(std::mt19937_64& random) const {
    std::discrete_distribution<std::size_t> place(weights.begin(), weights.end());
    return tokens[place(random)];
  }
};

struct Client {
  std::vector<Window> windows;
  std::map<double, std::pair<Lengths, Lengths>> lengths;  ///< prompts and answers, by window start
  /// Of the last window with lengths that began by `seconds`, or of the first.
  [[nodiscard]] const std::pair<Lengths, Lengths>& lengths_at(double seconds) const {
    const auto after = lengths.upper_bound(seconds);
    return after == lengths.begin() ? after->second : std::prev(after)->second;
  }
};

Result<std::vector<Window>> read_windows(const std::filesystem::path& file) {
  auto lines = LineReader::open(file);
  if (!lines) return lines.error();
  std::vector<Window> windows;
  std::string line;
  for (;;) {
    const auto more = lines->next(line);
    if (!more) return more.error();
    if (!*more) return windows;
    const auto fields = csv_fields(line);
    if (!fields || fields->size() != 6)
      return lines->wrong(
          "expected are 6 columns: window start, requests/s, CV, law, 2 parameters");
    const auto start = parse_decimal((*fields)[0]), rate = parse_decimal((*fields)[1]),
               shape = parse_decimal((*fields)[4]);
    if (!start || *start < 0 || (!windows.empty() && *start <= windows.back().start))
      return lines->wrong(excerpt((*fields)[0]) + " is no start of a window after the one above");
    if (!rate || *rate < 0 || *rate > 1e6)
      return lines->wrong(excerpt((*fields)[1]) + " is no rate in 0 to 1000000 requests/s");
    Window window{*start, *rate, (*fields)[3] == "Weibull", 1};
    if (*rate > 0) {
      if (!window.weibull && (*fields)[3] != "Gamma")
        return lines->wrong(excerpt((*fields)[3]) + " is no law; expected are Gamma and Weibull");
      if (!shape || !(*shape >= 0.01 && *shape <= 1000))
        return lines->wrong(excerpt((*fields)[4]) + " is no shape in 0.01 to 1000");
      window.shape = *shape;
    }
    windows.push_back(window);
  }
}

/// "{34: 0.0014, 35: 0.0349}", a Python dictionary in a string; nothing if it is none.
std::optional<Lengths> lengths_of(std::string_view text) {
  text = trimmed(text);
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  Lengths lengths;
  while (!trimmed(text).empty()) {
    const auto end = std::min(text.find(','), text.size());
    const auto entry = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto colon = entry.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto tokens = parse_decimal(trimmed(entry.substr(0, colon)));
    const auto weight = parse_decimal(trimmed(entry.substr(colon + 1)));
    if (!tokens || *tokens < 0 || *tokens > static_cast<double>(longest_length) ||
        *tokens != std::floor(*tokens) || !weight || *weight < 0)
      return std::nullopt;
    lengths.tokens.push_back(static_cast<std::int64_t>(*tokens));
    lengths.weights.push_back(*weight);
  }
  return lengths;
}

bool can_be_drawn(const Lengths& lengths) {
  double sum = 0;
  for (const double weight : lengths.weights) sum += weight;
  return sum > 0;
}

/// An empty result if the client has none.
Result<std::map<double, std::pair<Lengths, Lengths>>> read_lengths(
    const std::filesystem::path& file) {
  std::map<double, std::pair<Lengths, Lengths>> result;
  const auto wrong = [&](const std::string& what) {
    return error(Errc::invalid_value, file.string() + ": " + what, "file");
  };
  std::error_code failure;
  const auto size = std::filesystem::file_size(file, failure);
  if (failure) return result;
  if (size > largest_lengths) return wrong("is larger than 64 MiB");
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  json::error_code broken;
  const auto value = json::parse(text, broken);
  if (broken || !value.is_object()) return wrong("is no JSON object");
  for (const auto& [key, window] : value.get_object()) {
    const auto start = parse_decimal({key.data(), key.size()});
    const auto* fields = window.if_object();
    if (!start || !fields) return wrong(excerpt({key.data(), key.size()}) + " is no window");
    std::pair<Lengths, Lengths> lengths;
    for (auto [name, target] :
         {std::pair("input_tokens", &lengths.first), std::pair("output_tokens", &lengths.second)}) {
      const auto* field = fields->if_contains(name);
      auto read = field && field->is_string()
                      ? lengths_of({field->get_string().data(), field->get_string().size()})
                      : std::nullopt;
      if (!read)
        return wrong("window " + excerpt({key.data(), key.size()}) + ": '" + name +
                     "' is no text such as {34: 0.5, 35: 0.5}");
      *target = std::move(*read);
    }
    if (can_be_drawn(lengths.first) && can_be_drawn(lengths.second))
      result.emplace(*start, std::move(lengths));
  }
  return result;
}

/// All clients of a folder that have lengths, by number.
Result<std::vector<Client>> read_clients(const std::filesystem::path& folder,
                                         std::size_t& without_lengths) {
  std::map<std::int64_t, std::filesystem::path> files;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failure)) {
    const auto name = entry.path().filename().string();
    if (name.rfind("chunk-", 0) != 0 || !name.ends_with("-trace.csv")) continue;
    const auto number = parse_integer(std::string_view(name).substr(6, name.size() - 16));
    if (number) files.emplace(*number, entry.path());
  }
  if (files.empty())
    return error(Errc::invalid_value,
                 folder.string() + ": holds no ServeGen client files (chunk-N-trace.csv)", "file");
  if (files.size() > most_clients)
    return error(Errc::invalid_value,
                 folder.string() + ": has more than " + std::to_string(most_clients) + " clients",
                 "file");
  std::vector<Client> clients;
  for (const auto& [number, file] : files) {
    auto windows = read_windows(file);
    if (!windows) return windows.error();
    auto lengths = read_lengths(folder / ("chunk-" + std::to_string(number) + "-dataset.json"));
    if (!lengths) return lengths.error();
    if (lengths->empty())
      ++without_lengths;
    else
      clients.push_back({std::move(*windows), std::move(*lengths)});
  }
  return clients;
}

/// A gap of mean 1 / rate and the law's shape. The files' scale is not used: a Weibull's as fitted
/// does not have the mean that the measured rate has.
double gap(const Window& window, std::mt19937_64& random) {
  if (window.weibull)
    return std::weibull_distribution<double>(
        window.shape, 1 / (window.rate * std::tgamma(1 + 1 / window.shape)))(random);
  return std::gamma_distribution<double>(window.shape, 1 / (window.rate * window.shape))(random);
}

struct Drawn {
  double seconds = 0;
  std::int64_t prompt = 0, output = 0;
};

/// The requests of one client in [from, to), which lies inside `window`.
void draw_window(const Client& client, const Window& window, double from, double to,
                 std::mt19937_64& random, std::vector<Drawn>& drawn) {
  if (window.rate <= 0) return;
  const auto& lengths = client.lengths_at(window.start);
  for (double at = from + gap(window, random); at < to && drawn.size() <= most_requests;
       at += gap(window, random))
    drawn.push_back(
        {at, std::max<std::int64_t>(1, lengths.first.draw(random)), lengths.second.draw(random)});
}

/// Starts of windows, of all clients together; the last window is as long as the one before it.
std::vector<double> window_bounds(const std::vector<Client>& clients) {
  std::vector<double> bounds;
  for (const auto& client : clients)
    for (const auto& window : client.windows) bounds.push_back(window.start);
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  if (!bounds.empty())
    bounds.push_back(bounds.back() +
                     (bounds.size() > 1 ? bounds.back() - bounds[bounds.size() - 2] : 600));
  return bounds;
}

}  // namespace

Result<Trace> read_servegen(const std::filesystem::path& folder, const TraceOptions& options) {
  std::size_t without_lengths = 0;
  const auto clients = read_clients(folder, without_lengths);
  if (!clients) return clients.error();
  TraceBuilder builder(folder, options);
  if (without_lengths > 0)
    builder.note(std::to_string(without_lengths) +
                 " clients have no lengths (chunk-N-dataset.json) and were left out");
  const auto bounds = window_bounds(*clients);
  std::vector<std::mt19937_64> random;
  for (std::size_t i = 0; i < clients->size(); ++i)
    random.emplace_back(options.seed * 0x9E3779B97F4A7C15ULL + i);
  std::optional<double> first;
  for (std::size_t w = 0; w + 1 < bounds.size() && !builder.full(); ++w) {
    if (first && options.span > Duration{} && bounds[w] - *first >= to_seconds(options.span)) break;
    std::vector<Drawn> drawn;
    for (std::size_t i = 0; i < clients->size(); ++i) {
      const auto& windows = (*clients)[i].windows;
      const auto window = std::find_if(windows.rbegin(), windows.rend(),
                                       [&](const Window& one) { return one.start <= bounds[w]; });
      if (window != windows.rend())
        draw_window((*clients)[i], *window, bounds[w], bounds[w + 1], random[i], drawn);
    }
    std::sort(drawn.begin(), drawn.end(),
              [](const Drawn& a, const Drawn& b) { return a.seconds < b.seconds; });
    for (const auto& one : drawn) {
      if (builder.full()) break;
      if (!first) first = one.seconds;
      WorkloadRequest request;
      request.request_class = options.request_class;
      request.prompt_tokens = Tokens(one.prompt);
      request.output_tokens = Tokens(one.output);
      const auto rule = builder.add(one.seconds, std::move(request));
      if (!rule.empty())
        return error(Errc::invalid_value, folder.string() + ": a request drawn from it " + rule,
                     "file");
    }
  }
  return std::move(builder).finish();
}

}  // namespace tandem::sim
