// The CUDA backend on a fake device in virtual time: the scheduler's own plans, the kernels' own
// text, only the matrix products written out. Its tokens against the f32 reference; the order in
// which segments run, are reported and are aborted; what happens when the device fails.
#include "gpu/cuda/cuda_backend.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "gpu/cuda/buckets.hpp"
#include "gpu/cuda/resources.hpp"
#include "model/reference.hpp"
#include "model/sampling_math.hpp"
#include "policy/scheduler_core.hpp"
#include "tests/cuda/emulated_kernels.hpp"
#include "tests/cuda/fake_driver.hpp"
#include "tests/support/golden.hpp"

using namespace tandem;

namespace {

model::ModelConfig tiny_config() {
  model::ModelConfig config;
  config.vocab_size = 150;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.num_layers = 6;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_position = 256;
  return config;
}

/// A backend and the fake device below it.
struct Device {
  tests::FakeDriver* driver = nullptr;
  tests::FakeGemm* gemm = nullptr;
  std::unique_ptr<gpu::Backend> backend;
};

gpu::CudaOptions small_options() {
  gpu::CudaOptions options;
  options.max_iteration_tokens = Tokens(64);
  options.max_sequences = 20;
  options.layers_per_segment = 2;
  options.gpu_memory_fraction = 0.76;
  return options;
}

Result<Device> try_device(const model::Weights& weights, const gpu::CudaOptions& options,
                          const gpu::cuda::DeviceProperties* described = nullptr) {
  Device made;
  auto driver = std::make_unique<tests::FakeDriver>();
  auto gemm = std::make_unique<tests::FakeGemm>();
  if (described) driver->described = *described;
  made.driver = driver.get();
  made.gemm = gemm.get();
  auto backend = gpu::cuda::make_backend(
      {std::move(driver), &tests::emulated_kernels(), std::move(gemm)}, weights, options);
  if (!backend) return backend.error();
  made.backend = std::move(*backend);
  return made;
}

Device device_of(const model::WeightsPtr& weights,
                 const gpu::CudaOptions& options = small_options()) {
  auto device = try_device(*weights, options);
  REQUIRE(device.has_value());
  return std::move(*device);
}

/// A scheduler core and the device in one loop; plans that can be are started ahead, as in service,
/// or one after the other.
class Drive {
 public:
  enum class Order { ahead, one_by_one };
  Drive(Device device, policy::SchedulerOptions options, Order order = Order::ahead)
      : device_(std::move(device)),
        order_(order),
        core_(with_limits(options, *device_.backend), policy::make_online_first()) {}

  void add(Request request) {
    apply(policy::Arrived{std::make_shared<const Request>(std::move(request))});
  }
  void run() {
    bool front_started = false;
    while (!plans_.empty()) {
      const auto plan = plans_.front();
      auto& backend = *device_.backend;
      const auto segments = backend.num_segments(*plan);
      for (std::uint32_t s = front_started ? segments : 0; s < segments; ++s) {
        run_until_done(0);
        start(plan, s);
      }
      front_started = order_ == Order::ahead && plans_.size() > 1 && backend.runs_ahead(*plans_[1]);
      if (front_started) start(plans_[1], 0);
      plans_ahead += front_started ? 1 : 0;
      // The device may be through with both before the host collects the first.
      const bool collected_late = plans_ahead % 2 == 0;
      run_until_done(front_started && !collected_late ? 1 : 0);
      plans_.pop_front();
      IterationReport report{.id = plan->id, .samples = *backend.collect(*plan)};
      apply(policy::Reported{std::make_shared<const IterationReport>(std::move(report))});
    }
    CHECK(core_.idle());
  }

  int plans_ahead = 0;
  std::map<RequestId, std::vector<TokenId>> tokens;
  [[nodiscard]] const Device& device() const { return device_; }

 private:
  static policy::SchedulerOptions with_limits(policy::SchedulerOptions options,
                                              const gpu::Backend& backend) {
    options.kv_blocks = backend.limits().kv_blocks;
    options.max_sequences = std::min(options.max_sequences, backend.limits().max_sequences);
    options.max_iteration_tokens =
        std::min(options.max_iteration_tokens, backend.limits().max_iteration_tokens);
    return options;
  }
  void start(const PlanPtr& plan, std::uint32_t segment) {
    ++pending_;
    device_.backend->start_segment(plan, segment, [this](const Result<void>& r) {
      REQUIRE(r.has_value());
      --pending_;
    });
  }
  /// Lets time pass until `left` segments are to be told of.
  void run_until_done(int left) {
    while (pending_ > left) REQUIRE(device_.driver->run_one());
  }
  void apply(const policy::Event& event) {
    for (const auto& action : core_.on(event, TimePoint{})) {
      if (const auto* launch = std::get_if<policy::Launch>(&action)) plans_.push_back(launch->plan);
      if (const auto* emit = std::get_if<policy::Emit>(&action))
        for (const auto& e : emit->events)
          if (e.token) tokens[e.id].push_back(*e.token);
    }
  }

  Device device_;
  const Order order_;
  policy::SchedulerCore core_;
  std::deque<PlanPtr> plans_;
  int pending_ = 0;
};

Request greedy(std::uint64_t id, std::vector<TokenId> prompt, std::int64_t tokens) {
  Request request{.id = RequestId(id), .prompt = std::move(prompt)};
  request.sampling.temperature = 0;
  request.stop.max_tokens = Tokens(tokens);
  return request;
}

/// Checks `tokens` under the near-tie rule: each is the reference's best after the ones before it,
/// or within `nats` of it.
void check_near_best(const model::WeightsPtr& weights, std::vector<TokenId> prompt,
                     const std::vector<TokenId>& tokens, float nats) {
  model::Reference reference(weights);
  const auto vocab = static_cast<std::ptrdiff_t>(weights->config.vocab_size);
  auto logits = reference.forward(prompt);
  for (const auto token : tokens) {
    const auto row = logits.end() - vocab;
    CHECK(*std::max_element(row, row + vocab) - row[token] <= nats);
    logits = reference.forward(std::vector{token});
  }
}

std::vector<TokenId> some_prompt(std::size_t length, std::int64_t vocab, std::size_t salt) {
  std::vector<TokenId> prompt(length);
  for (std::size_t i = 0; i < length; ++i)
    prompt[i] = static_cast<TokenId>((i * 31 + salt * 17 + 5) % static_cast<std::size_t>(vocab));
  return prompt;
}

PlanPtr prefill_plan(std::uint64_t id, const RequestPtr& request, RequestClass request_class) {
  auto plan = std::make_shared<Plan>();
  plan->id = IterationId(id);
  plan->bindings.push_back({SlotId(0), request, {}});
  const auto count = static_cast<std::uint32_t>(request->prompt.size());
  plan->slices.push_back({.request_class = request_class,
                          .samples = true,
                          .num_tokens = count,
                          .tokens = {0, count},
                          .blocks = std::make_shared<const BlockTable>(
                              BlockTable{BlockId(4), BlockId(2), BlockId(9)})});
  plan->token_ids = request->prompt;
  return plan;
}

}  // namespace

TEST_CASE(
    "golden models of every architecture: greedy tokens are the reference's best, near ties "
    "aside, alone and in company") {
  for (const auto& name : tests::golden_model_names()) {
    const auto folder = tests::golden_models / name;
    const auto config = model::load_config(folder);
    REQUIRE(config.has_value());
    const auto weights = *model::load_weights(folder, *config);
    INFO(name);
    const auto prompt = some_prompt(37, config->vocab_size, 1);
    for (const std::size_t others : {0U, 9U}) {
      Drive drive(device_of(weights), {.max_iteration_tokens = Tokens(24)});
      for (std::size_t i = 0; i < others; ++i) {
        auto other = greedy(2 + i, some_prompt(3 + 7 * i, config->vocab_size, i), 10);
        if (i % 2 == 0) other.request_class = RequestClass::offline;
        drive.add(std::move(other));
      }
      drive.add(greedy(1, prompt, 20));
      drive.run();
      REQUIRE(drive.tokens[RequestId(1)].size() == 20);
      check_near_best(weights, prompt, drive.tokens[RequestId(1)], 0.05F);
      CHECK(drive.device().driver->graphs_launched() > 0);
    }
  }
}

TEST_CASE("a seeded request draws the same alone and in company, with penalties and a bias") {
  const auto weights = model::dummy_weights(tiny_config(), model::Dtype::f32, 11);
  auto request = greedy(1, {5, 17, 99}, 30);
  request.sampling = {.temperature = 1.3F,
                      .top_k = 40,
                      .top_p = 0.95F,
                      .repetition_penalty = 1.2F,
                      .presence_penalty = 0.5F,
                      .seed = 77,
                      .logit_bias = {{3, 2.0F}, {99, -5.0F}}};
  Drive alone(device_of(weights), {});
  alone.add(request);
  alone.run();
  Drive together(device_of(weights), {.max_iteration_tokens = Tokens(20)});
  for (std::uint64_t i = 0; i < 8; ++i) together.add(greedy(2 + i, some_prompt(4 + i, 150, i), 12));
  together.add(request);
  together.run();
  CHECK(alone.tokens[RequestId(1)].size() == 30);
  CHECK(alone.tokens[RequestId(1)] == together.tokens[RequestId(1)]);
}

TEST_CASE("plans started ahead draw what they draw one by one") {
  const auto weights = model::dummy_weights(tiny_config(), model::Dtype::f32, 11);
  const auto tokens_of = [&](Drive::Order order, bool expect_ahead) {
    Drive drive(device_of(weights), {.max_iteration_tokens = Tokens(20)}, order);
    for (std::uint64_t i = 0; i < 14; ++i) {
      auto request = greedy(1 + i, some_prompt(3 + 5 * i, 150, i), 3 + static_cast<int>(i));
      if (i % 3 == 0) request.request_class = RequestClass::offline;
      if (i % 2 == 0)
        request.sampling = {.temperature = 1.1F,
                            .repetition_penalty = 1.3F,
                            .frequency_penalty = 0.4F,
                            .seed = 50 + i,
                            .logit_bias = {{static_cast<TokenId>(i), 1.5F}}};
      drive.add(std::move(request));
    }
    drive.run();
    CHECK((drive.plans_ahead > 10) == expect_ahead);
    return drive.tokens;
  };
  const auto one_by_one = tokens_of(Drive::Order::one_by_one, false);
  CHECK(one_by_one.size() == 14);
  CHECK(one_by_one == tokens_of(Drive::Order::ahead, true));
}

TEST_CASE("each token of a request has a random number of its own") {
  // So hot that all tokens are about as likely as each other: the number is the token.
  const auto weights = model::dummy_weights(tiny_config(), model::Dtype::f32, 11);
  for (const auto order : {Drive::Order::ahead, Drive::Order::one_by_one}) {
    Drive drive(device_of(weights), {}, order);
    auto request = greedy(1, {5, 17, 99}, 30);
    request.sampling = {.temperature = 1e4F, .seed = 77};
    drive.add(request);
    drive.run();
    const auto& drawn = drive.tokens[RequestId(1)];
    REQUIRE(drawn.size() == 30);
    for (std::size_t i = 0; i < 30; ++i)
      CHECK(drawn[i] == Approx(150 * model::uniform_of(77, i)).margin(1.5));
  }
}

TEST_CASE("what can be stopped, or makes the host wait, is not started ahead") {
  auto device = device_of(model::dummy_weights(tiny_config(), model::Dtype::f32, 1));
  const auto ahead = [&](const Request& request, RequestClass request_class) {
    return device.backend->runs_ahead(
        *prefill_plan(1, std::make_shared<const Request>(request), request_class));
  };
  auto request = greedy(1, some_prompt(20, 150, 1), 4);
  CHECK(ahead(request, RequestClass::online));
  CHECK_FALSE(ahead(request, RequestClass::offline));
  request.sampling.presence_penalty = 0.5F;
  CHECK(ahead(request, RequestClass::online));
  request.prompt.assign(70000, 3);  // more than is copied at once
  CHECK_FALSE(ahead(request, RequestClass::online));
  request.sampling.presence_penalty = 0;
  CHECK(ahead(request, RequestClass::online));
}

TEST_CASE(
    "nothing is created and nobody waits while serving, and everything ends with the backend") {
  const auto weights = model::dummy_weights(tiny_config(), model::Dtype::bf16, 1);
  auto device = device_of(weights);
  auto* driver = device.driver;
  const auto created = driver->created(), waited = driver->synchronized();
  Drive drive(std::move(device), {});
  for (std::uint64_t i = 0; i < 12; ++i) {
    auto request = greedy(1 + i, some_prompt(3 + i, 150, i), 9);
    request.sampling.frequency_penalty = 0.1F;
    drive.add(std::move(request));
  }
  drive.run();
  CHECK(driver->created() == created);
  CHECK(driver->synchronized() == waited);
}

TEST_CASE("handles and memory end with their owners") {
  tests::FakeDriver driver;
  {
    auto stream = gpu::cuda::make_stream(driver, gpu::cuda::StreamPriority::low);
    auto event = gpu::cuda::make_event(driver);
    auto memory = gpu::cuda::DeviceBuffer::make(driver, Bytes(100));
    auto mapped = gpu::cuda::MappedBuffer::make(driver, Bytes(100));
    auto moved = std::move(*memory);
    CHECK(memory->data() == nullptr);
    CHECK(moved.size() == Bytes(100));
    CHECK(driver.alive() == 4);
  }
  CHECK(driver.alive() == 0);
}

TEST_CASE("plans with online slices and decode graphs run whole, offline prompts in groups") {
  auto device = device_of(model::dummy_weights(tiny_config(), model::Dtype::f32, 1));
  const auto request = std::make_shared<const Request>(greedy(1, some_prompt(20, 150, 1), 4));
  CHECK(device.backend->num_segments(*prefill_plan(1, request, RequestClass::online)) == 1);
  CHECK(device.backend->num_segments(*prefill_plan(1, request, RequestClass::offline)) == 3);
  const auto one = std::make_shared<const Request>(greedy(1, {7}, 4));
  CHECK(device.backend->num_segments(*prefill_plan(1, one, RequestClass::offline)) == 1);
}

TEST_CASE("at most one group of layers stands behind the one that runs") {
  auto device = device_of(model::dummy_weights(tiny_config(), model::Dtype::f32, 1));
  auto& driver = *device.driver;
  const auto request = std::make_shared<const Request>(greedy(1, some_prompt(20, 150, 1), 4));
  const auto plan = prefill_plan(1, request, RequestClass::offline);
  std::vector<int> done;
  const auto start = [&](std::uint32_t index) {
    device.backend->start_segment(plan, index, [&done, index](const Result<void>& r) {
      CHECK(r.has_value());
      done.push_back(static_cast<int>(index));
    });
  };
  start(0);
  CHECK(done.empty());  // never from inside: nothing ran yet
  driver.run_one();     // copies of the plan's start
  while (done.empty()) REQUIRE(driver.run_one());
  const auto first_group = driver.queued();
  CHECK(first_group > 0);  // segment 0 is reported while its own group is still to run
  start(1);
  CHECK(driver.queued() > first_group);
  while (done.size() < 2) REQUIRE(driver.run_one());
  const auto second_group = driver.queued();
  CHECK(second_group > 0);  // the first group is done, the second is not
  start(2);
  driver.run_all();
  CHECK(done == std::vector{0, 1, 2});
  CHECK(device.backend->collect(*plan)->size() == 1);
}

TEST_CASE("a plan aborted between any two segments, with a group still running, leaves nothing") {
  const auto weights = model::dummy_weights(tiny_config(), model::Dtype::f32, 11);
  const auto request = std::make_shared<const Request>(greedy(1, some_prompt(40, 150, 2), 4));
  const auto plan = prefill_plan(1, request, RequestClass::offline);
  const auto run_whole = [&](Device& device) {
    for (std::uint32_t s = 0; s < 3; ++s) {
      device.backend->start_segment(plan, s, [](const Result<void>& r) { CHECK(r.has_value()); });
      device.driver->run_all();
    }
    return *device.backend->collect(*plan);
  };
  auto undisturbed = device_of(weights);
  const auto expected = run_whole(undisturbed);
  for (const std::uint32_t segments : {1U, 2U})
    for (int times = 1; times <= 3; ++times) {
      auto device = device_of(weights);
      for (int i = 0; i < times; ++i) {
        for (std::uint32_t s = 0; s < segments; ++s) {
          bool done = false;
          device.backend->start_segment(plan, s, [&](const Result<void>&) { done = true; });
          while (!done) REQUIRE(device.driver->run_one());
        }
        CHECK(device.driver->queued() > 0);
        device.backend->abort(*plan);
      }
      CHECK(run_whole(device)[0].token == expected[0].token);
    }
}

TEST_CASE("a failure of the device arrives as the segment's result, and a lost device stays lost") {
  const auto weights = model::dummy_weights(tiny_config(), model::Dtype::f32, 11);
  const auto request = std::make_shared<const Request>(greedy(1, some_prompt(20, 150, 2), 4));
  for (const auto request_class : {RequestClass::online, RequestClass::offline})
    for (const bool sticky : {true, false}) {
      auto device = device_of(weights);
      const auto plan = prefill_plan(1, request, request_class);
      device.driver->fail_after(30, sticky);
      std::optional<Error> failure;
      const auto segments = device.backend->num_segments(*plan);
      for (std::uint32_t s = 0; s < segments && !failure; ++s) {
        device.backend->start_segment(plan, s, [&](const Result<void>& r) {
          if (!r) failure = r.error();
        });
        device.driver->run_all();
      }
      REQUIRE(failure.has_value());
      CHECK(failure->code == Errc::device_failed);
      CHECK(device.driver->lost() == sticky);
    }
}

TEST_CASE("a device that is lost between two plans fails the next one at once") {
  auto device = device_of(model::dummy_weights(tiny_config(), model::Dtype::f32, 11));
  const auto request = std::make_shared<const Request>(greedy(1, some_prompt(20, 150, 2), 4));
  device.driver->lose();
  int calls = 0;
  device.backend->start_segment(prefill_plan(1, request, RequestClass::online), 0,
                                [&](const Result<void>& r) {
                                  CHECK(r.has_error());
                                  ++calls;
                                });
  CHECK(calls == 1);
}

TEST_CASE("a token that the device did not write is a named error") {
  auto device = device_of(model::dummy_weights(tiny_config(), model::Dtype::f32, 11));
  const auto request = std::make_shared<const Request>(greedy(1, some_prompt(20, 150, 2), 4));
  const auto plan = prefill_plan(1, request, RequestClass::online);
  device.backend->start_segment(plan, 0, [](const Result<void>&) {});
  const auto samples = device.backend->collect(*plan);  // nothing ran
  REQUIRE(samples.has_error());
  CHECK(samples.error().message.find("slice 0") != std::string::npos);
}

TEST_CASE("limits say what the pool holds, and products exist for every bucket") {
  const auto weights = model::dummy_weights(tiny_config(), model::Dtype::f32, 11);
  auto device = device_of(weights);
  const auto& limits = device.backend->limits();
  CHECK(limits.device_name == "Fake GPU");
  CHECK(limits.row_quantum == 128);
  CHECK(limits.max_context == Tokens(256));
  CHECK(limits.kv_blocks.value() > 100);
  std::size_t qkv = 0;
  for (const auto& [key, stride] : device.gemm->prepared) qkv += key.n == 128 && key.k == 64;
  CHECK(qkv == gpu::cuda::buckets_up_to(64).size());
}

TEST_CASE("options and devices that cannot serve are refused by name") {
  const auto weights = model::dummy_weights(tiny_config(), model::Dtype::f32, 11);
  const auto refused = [&](auto change) {
    auto options = small_options();
    change(options);
    const auto device = try_device(*weights, options);
    REQUIRE(device.has_error());
    return device.error();
  };
  CHECK(refused([](auto& o) { o.max_sequences = 0; }).param == "max_sequences");
  CHECK(refused([](auto& o) { o.max_iteration_tokens = Tokens(0); }).param ==
        "max_iteration_tokens");
  CHECK(refused([](auto& o) { o.layers_per_segment = 0; }).param == "layers_per_segment");
  CHECK(refused([](auto& o) { o.max_context = Tokens(300); }).message.find("256") !=
        std::string::npos);
  CHECK(refused([](auto& o) { o.gpu_memory_fraction = 0.1; }).param == "gpu_memory_fraction");
  CHECK(refused([](auto& o) { o.gpu_memory_fraction = 1.5; }).param == "gpu_memory_fraction");
  CHECK(refused([](auto& o) { o.max_iteration_tokens = Tokens(1 << 20); }).param ==
        "max_iteration_tokens");
  CHECK(refused([](auto& o) { o.kernel_launch = "soon"; }).message.find("'soon'") !=
        std::string::npos);
  // A newer device may run code that was compiled for an older one.
  gpu::cuda::DeviceProperties newer{.name = "Newer",
                                    .compute_major = 10,
                                    .compute_minor = 0,
                                    .compiled_for = 80,
                                    .multiprocessors = 1};
  auto dependent = small_options();
  dependent.kernel_launch = "dependent";
  CHECK(try_device(*weights, dependent).has_value());
  const auto too_old = try_device(*weights, dependent, &newer);
  REQUIRE(too_old.has_error());
  CHECK(too_old.error().param == "kernel_launch");
  CHECK(too_old.error().message.find("Newer runs code for 8.0") != std::string::npos);
  gpu::cuda::DeviceProperties old{
      .name = "Old", .compute_major = 7, .compute_minor = 5, .multiprocessors = 1};
  const auto device = try_device(*weights, small_options(), &old);
  REQUIRE(device.has_error());
  CHECK(device.error().message.find("7.5") != std::string::npos);
  auto config = tiny_config();
  config.head_dim = 256;
  const auto wide =
      try_device(*model::dummy_weights(config, model::Dtype::f32, 1), small_options());
  REQUIRE(wide.has_error());
  CHECK(wide.error().param == "head_dim");
}
