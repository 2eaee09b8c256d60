// The host backend behind its interface: plans in, samples out.
#include "gpu/host/host_backend.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "gpu/cuda_devices.hpp"
#include "gpu/host/kernels.hpp"
#include "model/reference.hpp"
#include "tests/gpu/drive.hpp"
#include "tests/support/golden.hpp"

using namespace tandem;

namespace {

/// A plan of one slice in blocks 4, 2, 9 of slot 0. No tokens: the one that `source` sampled.
struct OneSlice {
  std::uint64_t id;
  std::vector<TokenId> tokens;
  std::uint32_t context = 0;
  RequestClass request_class = RequestClass::online;
  RequestPtr bind;
};

BlockTablePtr table(std::initializer_list<std::uint32_t> blocks) {
  BlockTable ids;
  for (const auto block : blocks) ids.push_back(BlockId(block));
  return std::make_shared<const BlockTable>(std::move(ids));
}

PlanPtr plan_of(const OneSlice& one) {
  auto plan = std::make_shared<Plan>();
  plan->id = IterationId(one.id);
  if (one.bind) plan->bindings.push_back({SlotId(0), one.bind, {}});
  const auto count = static_cast<std::uint32_t>(one.tokens.size());
  plan->slices.push_back({.request_class = one.request_class,
                          .decode = count == 0,
                          .samples = true,
                          .context = one.context,
                          .num_tokens = count == 0 ? 1 : count,
                          .tokens = {0, count},
                          .blocks = table({4, 2, 9})});
  plan->token_ids = one.tokens;
  return plan;
}

void run_segments(gpu::Backend& backend, const PlanPtr& plan, std::uint32_t count) {
  for (std::uint32_t s = 0; s < count; ++s) {
    int calls = 0;
    backend.start_segment(plan, s, [&](const Result<void>& r) {
      CHECK(r.has_value());
      ++calls;
    });
    CHECK(calls == 1);
  }
}

std::vector<Sample> run_whole(gpu::Backend& backend, const PlanPtr& plan) {
  run_segments(backend, plan, backend.num_segments(*plan));
  return *backend.collect(*plan);
}

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
  options.max_iteration_tokens = Tokens(256);
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

TEST_CASE("a plan aborted between any two segments leaves nothing behind") {
  const auto weights = tiny_model();
  const auto request = std::make_shared<const Request>(greedy(1, std::vector<TokenId>(40, 21), 4));
  const auto plan = plan_of({.id = 1,
                             .tokens = request->prompt,
                             .request_class = RequestClass::offline,
                             .bind = request});
  auto undisturbed = backend_of(weights, {.layers_per_segment = 2});
  REQUIRE(undisturbed->num_segments(*plan) == 3);
  const auto expected = run_whole(*undisturbed, plan);
  for (const std::uint32_t segments : {1U, 2U}) {
    auto aborted = backend_of(weights, {.layers_per_segment = 2});
    run_segments(*aborted, plan, segments);
    aborted->abort(*plan);
    const auto samples = run_whole(*aborted, plan);
    REQUIRE(samples.size() == 1);
    CHECK(samples[0].token == expected[0].token);
  }
}

TEST_CASE(
    "a slice without tokens takes the one sampled before it, aborted plans in between or not") {
  const auto weights = tiny_model();
  const std::vector<TokenId> prompt{5, 17, 99, 3, 42};
  const auto expected = reference_greedy(weights, prompt, 3);
  const auto request = std::make_shared<const Request>(greedy(1, prompt, 3));
  auto backend = backend_of(weights, {.layers_per_segment = 2});
  CHECK(run_whole(*backend, plan_of({.id = 1, .tokens = prompt, .bind = request}))[0].token ==
        expected[0]);
  const auto second = plan_of({.id = 2, .context = 5, .request_class = RequestClass::offline});
  run_segments(*backend, second, 1);
  backend->abort(*second);
  CHECK(run_whole(*backend, second)[0].token == expected[1]);
  CHECK(run_whole(*backend, plan_of({.id = 3, .context = 6}))[0].token == expected[2]);
}

TEST_CASE("the token of the right slice is taken, when the plan before has many") {
  const auto weights = tiny_model();
  auto backend = backend_of(weights);
  Plan first{.id = IterationId(1)};
  std::vector<std::vector<TokenId>> expected;
  for (std::uint32_t i = 0; i < 5; ++i) {
    const std::vector<TokenId> prompt(3 + i, static_cast<TokenId>(20 * i + 1));
    auto request = std::make_shared<const Request>(greedy(i + 1, prompt, 2));
    expected.push_back(reference_greedy(weights, prompt, 2));
    const auto at = static_cast<std::uint32_t>(first.token_ids.size());
    first.bindings.push_back({SlotId(i), request, {}});
    // The third one stops before its prompt's end: it samples nothing.
    const std::uint32_t tokens = i == 2 ? 2 : 3 + i;
    first.slices.push_back({.slot = SlotId(i),
                            .samples = i != 2,
                            .num_tokens = tokens,
                            .tokens = {at, tokens},
                            .blocks = table({10 + i})});
    first.token_ids.insert(first.token_ids.end(), prompt.begin(), prompt.end());
  }
  const auto samples = run_whole(*backend, std::make_shared<const Plan>(first));
  REQUIRE(samples.size() == 4);
  for (const auto& sample : samples) CHECK(sample.token == expected[sample.slice][0]);
  Plan second{.id = IterationId(2)};
  second.token_ids = {41};  // the rest of the third prompt: 5 tokens, of which 2 ran
  const std::uint32_t order[] = {4, 0, 3, 1};
  for (const auto i : order)
    second.slices.push_back({.slot = SlotId(i),
                             .samples = true,
                             .context = 3 + i,
                             .num_tokens = 1,
                             .source_slice = i,
                             .blocks = table({10 + i})});
  const auto next = run_whole(*backend, std::make_shared<const Plan>(second));
  REQUIRE(next.size() == 4);
  for (std::uint32_t s = 0; s < 4; ++s) {
    CHECK(next[s].slice == s);
    CHECK(next[s].token == expected[order[s]][1]);
  }
}

TEST_CASE("a rebound slot draws as if the tokens before had never been interrupted") {
  const auto weights = tiny_model();
  auto request = greedy(1, {5, 17, 99}, 30);
  request.sampling = {.temperature = 1.2F, .top_p = 0.9F, .frequency_penalty = 0.7F, .seed = 5};
  tests::Drive whole(backend_of(weights), {});
  whole.add(request);
  whole.run();
  const auto& tokens = whole.tokens[RequestId(1)];
  REQUIRE(tokens.size() == 30);
  // Preempted after 10 tokens: prompt and output run again as one prefill.
  const std::vector<TokenId> output(tokens.begin(), tokens.begin() + 10);
  auto all = request.prompt;
  all.insert(all.end(), output.begin(), output.end());
  const auto plan = plan_of({.id = 1, .tokens = all});
  auto bound = std::make_shared<Plan>(*plan);
  bound->bindings.push_back({SlotId(0), std::make_shared<const Request>(request), output});
  auto backend = backend_of(weights);
  CHECK(run_whole(*backend, bound)[0].token == tokens[10]);
  CHECK(run_whole(*backend, plan_of({.id = 2, .context = 13}))[0].token == tokens[11]);
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
  const auto too_large = refused({.kv_cache_bytes = Bytes(1LL << 60)});
  CHECK(too_large.param == "kv_cache_bytes");
  CHECK(too_large.message.find("this machine has") != std::string::npos);
  CHECK(refused({.threads = 5000}).message.find("1024") != std::string::npos);
  CHECK(refused({.max_iteration_tokens = Tokens(0)}).param == "max_iteration_tokens");
  CHECK(refused({.max_sequences = 0}).param == "max_sequences");
  CHECK(refused({.max_context = Tokens(257)}).message.find("256") != std::string::npos);
  CHECK(refused({.layers_per_segment = 0}).param == "layers_per_segment");
}

TEST_CASE("dtype auto keeps small float32 files exact and takes bfloat16 for others") {
  const auto kernels_of = [](model::Dtype stored, const char* kernels) {
    auto config = tiny_model()->config;
    const auto weights = model::dummy_weights(config, stored, 1);
    return backend_of(weights, {.kernels = kernels})->limits().kernels;
  };
  CHECK(kernels_of(model::Dtype::f32, "auto").ends_with(" float32"));
  CHECK(kernels_of(model::Dtype::bf16, "portable") == "portable float32");
  if (gpu::supported_kernels().size() > 1)
    CHECK(kernels_of(model::Dtype::bf16, "auto").ends_with(" bfloat16"));
}

TEST_CASE("asking for CUDA devices gives a list or a reason") {
  const auto devices = gpu::cuda_devices();
  if (devices.has_error()) CHECK_FALSE(devices.error().message.empty());
  if (!gpu::cuda_compiled()) CHECK(devices.error().code == Errc::unsupported);
}
