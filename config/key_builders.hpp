// How a row of the table in keys.cpp becomes a Key: one builder per type of value. `field` is a
// function from Config to the member, so that a row cannot name a default of its own. Internal to
// config/.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "config/keys.hpp"
#include "config/values.hpp"
#include "core/units.hpp"
#include "policy/slo_budget.hpp"

namespace tandem::config {

/// Double-quoted YAML with everything unprintable escaped.
std::string yaml_quoted(std::string_view text);
/// Printable, without line breaks, at most `longest` bytes.
bool is_plain_text(std::string_view text, std::size_t longest);

template <class T>
void assign(T& field, std::int64_t value) {
  field = static_cast<T>(value);
}
template <class Tag>
void assign(Count<Tag>& field, std::int64_t value) {
  field = Count<Tag>(value);
}
template <class T>
std::int64_t number_of(const T& field) {
  return static_cast<std::int64_t>(field);
}
template <class Tag>
std::int64_t number_of(const Count<Tag>& field) {
  return field.value();
}

inline const std::string& text_of(const std::string& field) { return field; }
inline std::string text_of(const std::filesystem::path& field) { return field.string(); }

/// The const view of a field, through the one accessor that a row has.
template <class Field>
const auto& read(Field field, const Config& config) {
  return field(const_cast<Config&>(config));
}

template <class Field>
Key integer(std::string name, std::int64_t least, std::int64_t most, Field field,
            std::string reason) {
  Key key;
  key.name = std::move(name);
  key.allowed = "an integer in " + std::to_string(least) + " .. " + std::to_string(most);
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    const auto value = parse_integer(values.front());
    if (!value || *value < least || *value > most) return false;
    assign(field(config), *value);
    return true;
  };
  key.get = [=](const Config& config) { return std::to_string(number_of(read(field, config))); };
  return key;
}

/// An objective, kept as text; load() turns the texts into objectives.
template <class Field>
Key objective(policy::Quantity quantity, policy::Statistic statistic, Field field,
              std::string reason) {
  const std::string name = "slo_" + policy::name_of(quantity, statistic);
  Key key;
  key.name = name;
  key.allowed =
      "milliseconds such as 250ms, a share over online-only service such as +10%, or none";
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    if (!policy::parse_objective(quantity, statistic, values.front(), name)) return false;
    field(config) = values.front().empty() ? "none" : values.front();
    return true;
  };
  key.get = [=](const Config& config) { return read(field, config); };
  return key;
}

/// A decimal number.
template <class Field>
Key number(std::string name, double least, double most, Field field, std::string reason) {
  Key key;
  key.name = std::move(name);
  key.allowed = "a number in " + number_text(least) + " .. " + number_text(most);
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    const auto value = parse_decimal(values.front());
    if (!value || !(*value >= least && *value <= most)) return false;
    field(config) = *value;
    return true;
  };
  key.get = [=](const Config& config) { return number_text(read(field, config)); };
  return key;
}

template <class Field>
Key bytes(std::string name, std::int64_t least, std::int64_t most, Field field,
          std::string reason) {
  Key key;
  key.name = std::move(name);
  key.allowed = "a size in " + bytes_text(least) + " .. " + bytes_text(most) +
                " (bytes, or with KiB, MiB, GiB, kB, MB, GB)";
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    const auto value = parse_bytes(values.front());
    if (!value || *value < least || *value > most) return false;
    assign(field(config), *value);
    return true;
  };
  key.get = [=](const Config& config) { return bytes_text(number_of(read(field, config))); };
  return key;
}

/// Bounds in milliseconds; people write seconds.
template <class Field>
Key seconds(std::string name, std::int64_t least_ms, std::int64_t most_ms, Field field,
            std::string reason) {
  using std::chrono::milliseconds;
  Key key;
  key.name = std::move(name);
  key.allowed = "seconds in " + seconds_text(least_ms) + " .. " + seconds_text(most_ms);
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    const auto value = parse_decimal(values.front());
    if (!value || *value * 1000 < static_cast<double>(least_ms) ||
        *value * 1000 > static_cast<double>(most_ms))
      return false;
    field(config) = milliseconds(static_cast<std::int64_t>(*value * 1000 + 0.5));
    return true;
  };
  key.get = [=](const Config& config) {
    return seconds_text(std::chrono::duration_cast<milliseconds>(read(field, config)).count());
  };
  return key;
}

/// A share between 0 and less than 1, in ten-thousandths.
template <class Field>
Key ratio(std::string name, Field field, std::string reason) {
  Key key;
  key.name = std::move(name);
  key.allowed = "a number in 0 .. 0.9999";
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    const auto value = parse_decimal(values.front());
    if (!value || *value < 0 || *value > 0.9999) return false;
    field(config) = std::round(*value * 1e4) / 1e4;
    return true;
  };
  key.get = [=](const Config& config) {
    auto text = std::to_string(10'000 + static_cast<int>(std::round(read(field, config) * 1e4)));
    text.replace(0, 1, "0.");
    text.erase(text.find_last_not_of('0') + 1);
    return text.back() == '.' ? "0" : text;
  };
  return key;
}

template <class Field>
Key flag(std::string name, Field field, std::string reason) {
  Key key;
  key.name = std::move(name);
  key.kind = KeyKind::flag;
  key.allowed = "true or false";
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    if (values.front() != "true" && values.front() != "false") return false;
    field(config) = values.front() == "true";
    return true;
  };
  key.get = [=](const Config& config) {
    return std::string(read(field, config) ? "true" : "false");
  };
  return key;
}

template <class Field>
Key one_of(std::string name, std::initializer_list<const char*> words, Field field,
           std::string reason) {
  Key key;
  key.name = std::move(name);
  for (const char* word : words)
    key.allowed += (key.allowed.empty() ? "" : " | ") + std::string(word);
  key.allowed = "one of " + key.allowed;
  key.reason = std::move(reason);
  const std::vector<std::string> known(words.begin(), words.end());
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    for (const auto& word : known)
      if (word == values.front()) {
        field(config) = word;
        return true;
      }
    return false;
  };
  key.get = [=](const Config& config) { return read(field, config); };
  return key;
}

template <class Field>
Key text(std::string name, std::size_t longest, Field field, std::string reason) {
  Key key;
  key.name = std::move(name);
  key.allowed = "text of at most " + std::to_string(longest) + " bytes on one line";
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    if (!is_plain_text(values.front(), longest)) return false;
    field(config) = values.front();
    return true;
  };
  key.get = [=](const Config& config) { return yaml_quoted(text_of(read(field, config))); };
  return key;
}

template <class Field>
Key path(std::string name, Field field, std::string reason) {
  auto key = text(std::move(name), 4096, field, std::move(reason));
  key.kind = KeyKind::path;
  key.get_path = [=](const Config& config) { return read(field, config); };
  key.allowed = "a path; in a file, relative to that file's folder";
  return key;
}

/// At most `longest` entries; on the command line and in the environment separated by commas.
template <class Field>
Key list(std::string name, std::size_t longest, Field field, std::string reason) {
  Key key;
  key.name = std::move(name);
  key.kind = KeyKind::list;
  key.allowed = "a list of at most " + std::to_string(longest) +
                " words (outside of files separated by commas)";
  key.reason = std::move(reason);
  key.set = [=](Config& config, const std::vector<std::string>& values) {
    if (values.size() > longest) return false;
    for (const auto& value : values)
      if (value.empty() || !is_plain_text(value, 1024)) return false;
    field(config) = values;
    return true;
  };
  key.get = [=](const Config& config) {
    std::string all;
    for (const auto& value : read(field, config))
      all += (all.empty() ? "" : ", ") + yaml_quoted(value);
    return "[" + all + "]";
  };
  return key;
}

}  // namespace tandem::config
