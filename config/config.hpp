// Everything that can be set about the service, as the options of the folders that read it. What
// sets it (command line, environment, file, default) is load.hpp; what may be set, and why, is the
// table in keys.cpp. Fields that two folders share are copied by load(): the host device's rows and
// slots are the scheduler's.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "actors/runtime.hpp"
#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/host/host_backend.hpp"
#include "model/jinja/limits.hpp"
#include "net/server.hpp"

namespace tandem::config {

struct LogOptions {
  std::string level = "info";   ///< debug | info | warn | error
  std::string format = "text";  ///< text | json
};

/// "none", "250ms" or "+10%", as policy::parse_objective reads them.
struct ObjectiveTexts {
  std::string ttft_mean = "none", ttft_p50 = "none", ttft_p99 = "none";
  std::string tbt_mean = "none", tbt_p50 = "none", tbt_p99 = "none";
};

struct Config {
  Config() { runtime.store.data_dir = "data"; }

  std::filesystem::path model;            ///< a Hugging Face folder; load() fails if it is empty
  std::string served_model_name;          ///< empty: the folder's name
  std::string tool_parser = "auto";       ///< auto | none | hermes | llama3_json
  std::string reasoning_parser = "auto";  ///< auto | none | qwen3 | deepseek_r1
  std::string load_format = "auto";       ///< auto: its safetensors | dummy: random weights
  std::uint64_t seed = 0;                 ///< of dummy weights
  model::jinja::Limits template_limits;   ///< of the chat template
  std::string device = "auto";            ///< auto | host | cuda
  gpu::HostOptions host;
  gpu::CudaOptions cuda;
  RuntimeOptions
      runtime;  ///< slo.objectives and learner.form are set by load() from the texts below
  ObjectiveTexts slo;
  std::string latency_model = "auto";  ///< auto | hygen | context
  std::filesystem::path profile_file;  ///< empty: none
  net::ServerOptions server;
  LogOptions log;
  std::uint32_t actor_threads = 2;
  std::chrono::milliseconds drain_delay{5000};
  std::chrono::milliseconds drain_timeout{30000};
};

}  // namespace tandem::config
