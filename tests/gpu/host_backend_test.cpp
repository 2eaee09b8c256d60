// The host backend behind its interface: plans in, samples out.
#include "gpu/host/host_backend.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "gpu/cuda_devices.hpp"
#include "model/reference.hpp"
#include "tests/gpu/drive.hpp"
#include "tests/support/golden.hpp"

using namespace tandem;

namespace {

model::WeightsPtr tiny_model() {
  model::ModelConfig config;
  config.vocab_size = 150;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.num_layers = 6;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_position = 256;
  return model::dummy_weights(config, model::Dtype::f32, 11);
}

std::unique_ptr<gpu::Backend> backend_of(const model::WeightsPtr& weights,
                                         gpu::HostOptions options = {}) {
  options.kv_cache_bytes = Bytes(4 << 20);
  options.threads = 2;
  auto backend = gpu::make_host_backend(weights, options);
  REQUIRE(backend.has_value());
  return std::move(*backend);
}

Request greedy(std::uint64_t id, std::vector<TokenId> prompt, std::int64_t tokens) {
  Request request{.id = RequestId(id), .prompt = std::move(prompt)};
  request.sampling.temperature = 0;
  request.stop.max_tokens = Tokens(tokens);
  return request;
}

std::vector<TokenId> reference_greedy(const model::WeightsPtr& weights, std::vector<TokenId> prompt,
                                      std::size_t count) {
  model::Reference reference(weights);
  const auto vocab = static_cast<std::size_t>(weights->config.vocab_size);
  std::vector<TokenId> output;
  auto logits = reference.forward(prompt);
  while (true) {
    const auto last = logits.end() - static_cast<std::ptrdiff_t>(vocab);
    output.push_back(static_cast<TokenId>(std::max_element(last, logits.end()) - last));
    if (output.size() == count) return output;
    logits = reference.forward(std::vector{output.back()});
  }
}

std::vector<Request> company(std::uint64_t first_id, std::size_t count, std::int64_t vocab) {
  std::vector<Request> requests;
  for (std::size_t i = 0; i < count; ++i) {
    auto request =
        greedy(first_id + i,
               std::vector<TokenId>(
                   5 + i * 3, static_cast<TokenId>((i * 31 + 7) % static_cast<std::size_t>(vocab))),
               static_cast<std::int64_t>(20 + i * 9));
    request.request_class = RequestClass::offline;
    if (i % 2 == 1) request.sampling = {.temperature = 1.0F, .seed = i};
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace

TEST_CASE("greedy tokens are the reference's, alone and in company") {
  const auto weights = tiny_model();
  const std::vector<TokenId> prompt{5, 17, 99, 3,  42, 8,  120, 64, 77, 12,
                                    9, 1,  33, 34, 35, 36, 37,  38, 39};
  const auto expected = reference_greedy(weights, prompt, 60);
  tests::Drive alone(backend_of(weights), {});
  alone.add(greedy(1, prompt, 60));
  alone.run();
  CHECK(alone.tokens[RequestId(1)] == expected);
  tests::Drive together(backend_of(weights), {.max_iteration_tokens = Tokens(24)});
  for (auto& request : company(2, 16, 150)) together.add(std::move(request));
  together.add(greedy(1, prompt, 60));
  together.run();
  CHECK(together.tokens[RequestId(1)] == expected);
  CHECK(together.tokens.size() == 17);
  CHECK(together.rows_of_largest > 17);
}

TEST_CASE("a seeded request draws the same tokens whatever shares its iterations") {
  const auto weights = tiny_model();
  auto request = greedy(1, {5, 17, 99}, 80);
  request.sampling = {
      .temperature = 1.3F, .top_k = 40, .top_p = 0.95F, .presence_penalty = 0.5F, .seed = 77};
  tests::Drive alone(backend_of(weights), {});
  alone.add(request);
  alone.run();
  tests::Drive together(backend_of(weights),
                        {.max_iteration_tokens = Tokens(40), .plans_in_flight = 1});
  for (auto& other : company(2, 12, 150)) together.add(std::move(other));
  together.add(request);
  together.run();
  CHECK(alone.tokens[RequestId(1)] == together.tokens[RequestId(1)]);
}

TEST_CASE(
    "stories260K: the author's 256 greedy tokens, alone and while 16 offline requests share the "
    "iterations") {
  const std::filesystem::path folder = "../shared/data/stories260k/derived-hf";
  if (!std::filesystem::exists(folder)) {
    WARN("skipped: " << folder << " is not there");
    return;
  }
  const auto config = model::load_config(folder);
  REQUIRE(config.has_value());
  const auto weights = *model::load_weights(folder, *config);
  const auto golden =
      boost::json::parse(tests::read_whole_file(folder / "greedy_golden.json")).as_object();
  std::vector<TokenId> expected;
  for (const auto& id : golden.at("ids").as_array())
    expected.push_back(static_cast<TokenId>(id.as_int64()));
  REQUIRE(expected.size() == 256);
  for (const std::size_t others : {0U, 16U}) {
    tests::Drive drive(backend_of(weights, {.dtype = "float32"}),
                       {.max_iteration_tokens = Tokens(64)});
    for (auto& request : company(2, others, config->vocab_size)) drive.add(std::move(request));
    drive.add(greedy(1, {*config->bos_token}, 256));
    drive.run();
    CHECK(drive.tokens[RequestId(1)] == expected);
  }
}

TEST_CASE("an aborted plan leaves nothing behind: run again, it gives the same samples") {
  const auto weights = tiny_model();
  const auto prompt = std::vector<TokenId>(40, 21);
  Plan plan{.id = IterationId(1)};
  auto request = std::make_shared<const Request>(greedy(1, prompt, 4));
  plan.bindings.push_back({SlotId(0), request, {}});
  plan.slices.push_back({.id = request->id,
                         .request_class = RequestClass::offline,
                         .samples = true,
                         .num_tokens = 40,
                         .tokens = {0, 40},
                         .blocks = {0, 3}});
  plan.token_ids = prompt;
  plan.block_ids = {BlockId(4), BlockId(2), BlockId(9)};
  const auto shared = std::make_shared<const Plan>(plan);
  const auto run = [&](gpu::Backend& backend, std::uint32_t segments) {
    for (std::uint32_t s = 0; s < segments; ++s)
      backend.start_segment(shared, s, [](const Result<void>&) {});
  };
  auto undisturbed = backend_of(weights, {.layers_per_segment = 2});
  REQUIRE(undisturbed->num_segments(plan) == 3);
  run(*undisturbed, 3);
  const auto expected = *undisturbed->collect(plan);
  auto aborted = backend_of(weights, {.layers_per_segment = 2});
  run(*aborted, 2);
  aborted->abort(plan);
  run(*aborted, 3);
  const auto samples = *aborted->collect(plan);
  REQUIRE(samples.size() == 1);
  CHECK(samples[0].token == expected[0].token);
}

TEST_CASE("plans with online slices are not cut into segments") {
  auto backend = backend_of(tiny_model(), {.layers_per_segment = 2});
  Plan plan;
  plan.slices.push_back({.request_class = RequestClass::online, .num_tokens = 1});
  CHECK(backend->num_segments(plan) == 1);
}

TEST_CASE("options that cannot be met are refused by name") {
  const auto weights = tiny_model();
  const auto refused = [&](gpu::HostOptions options) {
    const auto backend = gpu::make_host_backend(weights, options);
    REQUIRE(backend.has_error());
    return backend.error();
  };
  CHECK(refused({.kernels = "sse9"}).message.find("portable") != std::string::npos);
  CHECK(refused({.dtype = "int3"}).message.find("bfloat16") != std::string::npos);
  CHECK(refused({.kv_cache_bytes = Bytes(100)}).param == "kv_cache_bytes");
}

TEST_CASE("asking for CUDA devices gives a list or a reason") {
  const auto devices = gpu::cuda_devices();
  if (devices.has_error()) CHECK_FALSE(devices.error().message.empty());
  if (!gpu::cuda_compiled()) CHECK(devices.error().code == Errc::unsupported);
}
