// Device files: flat YAML, every key needed, each with its range.
#include <array>
#include <cmath>
#include <yaml-cpp/yaml.h>

#include "sim/device_model.hpp"

namespace tandem::sim {
namespace {

struct Key {
  const char* name;
  double DeviceSpec::*field;
  double low, high;
};
constexpr std::array<Key, 10> keys = {{
    {"memory_gib", &DeviceSpec::memory_gib, 0.001, 100000},
    {"bandwidth_tb_s", &DeviceSpec::bandwidth_tb_s, 0.0001, 10000},
    {"tflops", &DeviceSpec::tflops, 0.0001, 1000000},
    {"bandwidth_share", &DeviceSpec::bandwidth_share, 0.01, 1},
    {"gemm_share", &DeviceSpec::gemm_share, 0.01, 1},
    {"attention_share", &DeviceSpec::attention_share, 0.01, 1},
    {"iteration_us", &DeviceSpec::iteration_us, 0, 1000000},
    {"sequence_us", &DeviceSpec::sequence_us, 0, 100000},
    {"memory_share", &DeviceSpec::memory_share, 0.01, 1},
    {"work_space_gib", &DeviceSpec::work_space_gib, 0, 10000},
}};

std::string text(double value) {
  std::string digits = std::to_string(value);
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.back() == '.') digits.pop_back();
  return digits;
}

Error wrong(const std::filesystem::path& file, const std::string& what, const std::string& key) {
  return error(Errc::invalid_value, file.string() + ": " + what, key);
}

Result<double> read(const std::filesystem::path& file, const YAML::Node& root, const Key& key) {
  const std::string allowed = "; allowed is " + text(key.low) + " to " + text(key.high);
  const YAML::Node node = root[key.name];
  if (!node) return wrong(file, "'" + std::string(key.name) + "' is missing" + allowed, key.name);
  double value = 0;
  if (!node.IsScalar() || !YAML::convert<double>::decode(node, value) || !std::isfinite(value) ||
      value < key.low || value > key.high)
    return wrong(file,
                 "'" + std::string(key.name) + "' is " +
                     (node.IsScalar() ? "'" + node.Scalar().substr(0, 40) + "'" : "no number") +
                     allowed,
                 key.name);
  return value;
}

Result<DeviceSpec> read(const std::filesystem::path& file, const YAML::Node& root) {
  if (!root.IsMap()) return wrong(file, "a device file is a map of keys to values", "device");
  DeviceSpec spec;
  for (const auto& entry : root) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "?";
    const bool known = name == "name" || std::any_of(keys.begin(), keys.end(), [&](const Key& key) {
                         return name == key.name;
                       });
    if (!known) return wrong(file, "unknown key '" + name.substr(0, 40) + "'", name);
  }
  if (!root["name"] || !root["name"].IsScalar())
    return wrong(file, "'name' is missing; a device has a name", "name");
  spec.name = root["name"].Scalar();
  for (const Key& key : keys) {
    const auto value = read(file, root, key);
    if (!value) return value.error();
    spec.*key.field = *value;
  }
  return spec;
}

}  // namespace

Result<DeviceSpec> load_device(const std::filesystem::path& file) {
  try {
    return read(file, YAML::LoadFile(file.string()));
  } catch (const YAML::BadFile&) {
    return wrong(file, "cannot be read", "device");
  } catch (const YAML::Exception& e) {
    return wrong(file, std::string("is no YAML: ") + e.what(), "device");
  }
}

}  // namespace tandem::sim
