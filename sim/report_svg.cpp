// The picture of a simulation: three panels over one time axis, drawn as plain SVG without scripts
// or references. See report.hpp.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "sim/report.hpp"

namespace tandem::sim {
namespace {

constexpr double width = 960, left = 78, right = 24, top = 64, panel = 190, gap = 62, bottom = 46;
/// Okabe and Ito's palette: told apart by eyes that see fewer colours.
constexpr std::array<const char*, 6> colours = {"#0072B2", "#D55E00", "#009E73",
                                                "#CC79A7", "#E69F00", "#56B4E9"};
constexpr std::size_t most_points = 480;  ///< of one curve; neighbours are averaged beyond

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else if (static_cast<unsigned char>(c) >= 0x20)
      result += c;
  }
  return result;
}

std::string text(double x, double y, const std::string& words, const std::string& style = {}) {
  return "<text x=\"" + fixed(x, 1) + "\" y=\"" + fixed(y, 1) + "\" " + style + ">" +
         escaped(words) + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const std::string& style) {
  return "<line x1=\"" + fixed(x1, 1) + "\" y1=\"" + fixed(y1, 1) + "\" x2=\"" + fixed(x2, 1) +
         "\" y2=\"" + fixed(y2, 1) + "\" " + style + "/>\n";
}

/// 1, 2 or 5 times a power of ten, so that about `count` steps cover `range`.
double step_for(double range, double count) {
  const double rough = range / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double times : {1.0, 2.0, 5.0})
    if (times * power >= rough) return times * power;
  return 10 * power;
}

struct Curve {
  std::string name, colour;
  std::vector<double> values;  ///< one per interval
};

struct Level {
  std::string name;
  double value;
};

struct Panel {
  std::string title;
  std::vector<Curve> curves;
  std::vector<Level> levels;
};

std::vector<double> thinned(const std::vector<double>& values) {
  const std::size_t group = (values.size() + most_points - 1) / most_points;
  std::vector<double> result;
  for (std::size_t i = 0; i < values.size(); i += group) {
    const std::size_t end = std::min(i + group, values.size());
    double sum = 0;
    for (std::size_t k = i; k < end; ++k) sum += values[k];
    result.push_back(sum / static_cast<double>(end - i));
  }
  return result;
}

class Drawing {
 public:
  explicit Drawing(double seconds) : seconds_(std::max(seconds, 1e-9)) {}

  void draw(const Panel& drawn, double y) {
    double most = 0;
    for (const Curve& curve : drawn.curves)
      for (const double value : thinned(curve.values)) most = std::max(most, value);
    for (const Level& level : drawn.levels) most = std::max(most, level.value);
    if (!(most > 0)) most = 1;
    const double step = step_for(most, 4);
    const double high = std::ceil(most / step * 1.0001) * step;
    svg_ += text(left, y - 12, drawn.title, "font-weight=\"600\"");
    for (double value = 0; value <= high * 1.0001; value += step) {
      const double at = y + panel * (1 - value / high);
      svg_ += line(left, at, width - right, at, "stroke=\"#ddd\"");
      svg_ += text(left - 8, at + 4, number(value, step), "text-anchor=\"end\" fill=\"#555\"");
    }
    for (const Curve& curve : drawn.curves) svg_ += path(curve, y, high);
    for (const Level& level : drawn.levels) {
      const double at = y + panel * (1 - level.value / high);
      svg_ += line(left, at, width - right, at, "stroke=\"#333\" stroke-dasharray=\"6 4\"");
      svg_ += text(width - right - 4, at - 5, level.name,
                   "text-anchor=\"end\" fill=\"#333\" stroke=\"#fff\" stroke-width=\"4\" "
                   "paint-order=\"stroke\"");
    }
    legend(drawn, y);
  }

  void time_axis(double y) {
    const bool minutes = seconds_ >= 300;
    const double unit = minutes ? 60 : 1;
    const double step = step_for(seconds_ / unit, 8);
    for (double at = 0; at <= seconds_ / unit * 1.0001; at += step) {
      const double x = left + (width - left - right) * at * unit / seconds_;
      svg_ += line(x, y, x, y + 5, "stroke=\"#555\"");
      svg_ += text(x, y + 19, number(at, step), "text-anchor=\"middle\" fill=\"#555\"");
    }
    svg_ += text((left + width - right) / 2, y + 36, minutes ? "minutes" : "seconds",
                 "text-anchor=\"middle\" fill=\"#555\"");
  }

  void say(double y, const std::string& words, const std::string& style) {
    svg_ += text(left, y, words, style);
  }
  [[nodiscard]] const std::string& svg() const { return svg_; }

 private:
  static std::string number(double value, double step) {
    const int digits = step >= 1 ? 0 : static_cast<int>(std::ceil(-std::log10(step)));
    return value >= 10000 ? fixed(value / 1000, step >= 1000 ? 0 : 1) + "k" : fixed(value, digits);
  }

  [[nodiscard]] std::string path(const Curve& curve, double y, double high) const {
    const auto values = thinned(curve.values);
    std::string points;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double share = (static_cast<double>(i) + 0.5) / static_cast<double>(values.size());
      points += fixed(left + (width - left - right) * share, 1) + "," +
                fixed(y + panel * (1 - values[i] / high), 1) + " ";
    }
    return "<polyline fill=\"none\" stroke=\"" + curve.colour +
           "\" stroke-width=\"1.6\" stroke-linejoin=\"round\" points=\"" + points + "\"/>\n";
  }

  void legend(const Panel& drawn, double y) {
    double x = width - right;
    for (auto curve = drawn.curves.rbegin(); curve != drawn.curves.rend(); ++curve) {
      x -= 7.2 * static_cast<double>(curve->name.size());
      svg_ += text(x, y - 12, curve->name, "fill=\"#333\"");
      svg_ += line(x - 24, y - 16, x - 6, y - 16,
                   "stroke-width=\"3\" stroke=\"" + curve->colour + "\"");
      x -= 40;
    }
  }

  double seconds_;
  std::string svg_;
};

Panel panel_of(const SimulationReport& report, const std::string& title,
               const std::function<double(const Measured&, const Interval&)>& value,
               bool with_online_only) {
  Panel result{.title = title, .curves = {}, .levels = {}};
  std::size_t colour = 0;
  for (const PolicyRow& row : report.rows) {
    const std::size_t mine = colour++ % colours.size();
    if (row.trial.policy == "offline_only") continue;
    if (row.trial.policy == "online_only" && !with_online_only) continue;
    Curve curve{.name = row.trial.policy, .colour = colours[mine], .values = {}};
    for (const Interval& each : row.measured->intervals)
      curve.values.push_back(value(*row.measured, each));
    result.curves.push_back(std::move(curve));
  }
  return result;
}

Panel load_panel(const SimulationReport& report) {
  Panel result{.title = "Online load: tokens/s that online service alone computes",
               .curves = {},
               .levels = {}};
  const auto row = std::find_if(report.rows.begin(), report.rows.end(), [](const PolicyRow& each) {
    return each.trial.policy != "offline_only";
  });
  if (row == report.rows.end()) return result;
  Curve curve{.name = row->trial.policy, .colour = "#555", .values = {}};
  for (const Interval& each : row->measured->intervals)
    curve.values.push_back(static_cast<double>(each.online) / row->measured->interval_seconds);
  if (row->trial.policy != "online_only") result.title = "Online load: tokens/s computed";
  result.curves.push_back(std::move(curve));
  return result;
}

Panel tbt_panel(const SimulationReport& report) {
  const auto about = std::find_if(
      report.objectives.begin(), report.objectives.end(),
      [](const policy::Objective& each) { return each.quantity == policy::Quantity::tbt; });
  const bool of_mean =
      about != report.objectives.end() && about->statistic == policy::Statistic::mean;
  Panel result = panel_of(
      report, of_mean ? "Mean TBT of each interval, ms" : "p99 TBT of each interval, ms",
      [of_mean](const Measured&, const Interval& each) {
        return of_mean ? each.tbt_ms_mean : each.tbt_ms_p99;
      },
      true);
  if (about != report.objectives.end() && about->statistic != policy::Statistic::p50)
    result.levels.push_back(
        {"objective over the whole run", policy::limit_ms(*about, report.baseline)});
  return result;
}

Panel offline_panel(const SimulationReport& report) {
  Panel result = panel_of(
      report, "Offline tokens/s",
      [](const Measured& m, const Interval& each) {
        return static_cast<double>(each.offline) / m.interval_seconds;
      },
      false);
  if (report.ceiling > 0) result.levels.push_back({"offline work alone", report.ceiling});
  return result;
}

}  // namespace

std::string report_svg(const SimulationReport& report) {
  const double height = top + 3 * panel + 2 * gap + bottom + 26;
  double seconds = 0;
  for (const PolicyRow& row : report.rows) seconds = std::max(seconds, row.measured->seconds);
  Drawing drawing(seconds);
  drawing.say(24, report.device + ", " + report.model, "font-size=\"16\" font-weight=\"600\"");
  drawing.say(42, report.workload, "fill=\"#555\"");
  double y = top + 26;
  for (const Panel& each : {load_panel(report), tbt_panel(report), offline_panel(report)}) {
    drawing.draw(each, y);
    y += panel + gap;
  }
  drawing.time_axis(y - gap);
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + fixed(width, 0) + " " +
         fixed(height, 0) + "\" width=\"" + fixed(width, 0) + "\" height=\"" + fixed(height, 0) +
         "\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n" +
         "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n" + drawing.svg() + "</svg>\n";
}

}  // namespace tandem::sim
