// The table. A new option is a field in its folder's Options, a row here, and the text that
// `tandem serve --print-defaults` then prints into config/default.yaml (a test compares them).
#include "config/keys.hpp"

#include <algorithm>
#include <cctype>

#include "api/parse.hpp"
#include "config/key_builders.hpp"

namespace tandem::config {
namespace {

// Gives the member of a Config, whether it is const or not being the caller's affair.
#define TANDEM_FIELD(member) \
  [](Config & config) -> auto& { return config.member; }

void add(std::vector<Key>& all, const std::string& section, std::vector<Key> keys) {
  for (auto& key : keys) {
    key.section = section;
    all.push_back(std::move(key));
  }
}

std::vector<Key> model_keys() {
  return {
      path("model", TANDEM_FIELD(model),
           "The Hugging Face folder to serve: config.json, *.safetensors, tokenizer.json. "
           "There is no default; the service does not start without it."),
      text("served_model_name", 256, TANDEM_FIELD(served_model_name),
           "The name that clients send as \"model\". Empty: the name of the folder."),
      one_of(
          "tool_parser", {"auto", "none", "hermes", "llama3_json"}, TANDEM_FIELD(tool_parser),
          "How the model writes calls of tools, which leave the text for fields of their own: "
          "hermes in <tool_call> marks (Hermes, Qwen), llama3_json as JSON (Llama 3). auto reads "
          "it off the folder's chat template, and refuses tools where it cannot; none leaves "
          "calls in the text."),
      one_of("reasoning_parser", {"auto", "none", "qwen3", "deepseek_r1"},
             TANDEM_FIELD(reasoning_parser),
             "How the model writes its reasoning: qwen3 in <think> marks, of which the prompt may "
             "have the first; deepseek_r1 from the beginning even if the prompt has none. auto is "
             "qwen3 where template or vocabulary know the marks; none leaves it in the text."),
      one_of("load_format", {"auto", "dummy"}, TANDEM_FIELD(load_format),
             "auto reads the folder's safetensors; dummy makes random weights of config.json's "
             "shape, for benchmarks without a download."),
      integer("seed", 0, std::numeric_limits<std::int64_t>::max(), TANDEM_FIELD(seed),
              "Of dummy weights: equal seeds give equal weights."),
      integer("max_context", 0, 1LL << 24, TANDEM_FIELD(host.max_context),
              "Longest prompt plus answer, in tokens; longer calls are refused. 0: what the model "
              "allows. It is lowered, with a line in the log, to what the KV cache can hold, so "
              "that no request is taken in that could never run."),
      integer("template_max_steps", 100'000, 1'000'000'000'000,
              TANDEM_FIELD(template_limits.max_work),
              "What the chat template may do for one conversation: nodes evaluated, and 16-byte "
              "pieces of text made. Beyond it the call is refused as too large."),
      bytes("template_max_output_bytes", 1LL << 16, 1LL << 30,
            TANDEM_FIELD(template_limits.max_output_bytes), "The longest text that it may make."),
      integer("template_max_nesting", 50, 2000, TANDEM_FIELD(template_limits.max_level),
              "Evaluations inside each other, such as a macro that calls itself. More would need a "
              "larger stack than threads have."),
  };
}

std::vector<Key> device_keys() {
  return {
      one_of("device", {"auto", "host", "cuda"}, TANDEM_FIELD(device),
             "Where the model runs. auto takes an NVIDIA device if there is one that can be used, "
             "else the host, and says why; cuda starts on an NVIDIA device or not at all."),
      integer("device_index", 0, 255, TANDEM_FIELD(cuda.device_index),
              "Which NVIDIA device, as CUDA counts them (CUDA_VISIBLE_DEVICES applies)."),
      number("gpu_memory_fraction", 0.05, 1.0, TANDEM_FIELD(cuda.gpu_memory_fraction),
             "Share of the NVIDIA device's memory that weights, workspaces and KV cache take "
             "together; the KV cache gets what the others leave of it."),
      path("gemm_tuning_file", TANDEM_FIELD(cuda.gemm_tuning_file),
           "What gpu_check gemm-tune measured on this device and cuBLAS version. Empty: cuBLAS "
           "chooses its algorithms itself."),
      one_of("attention", {"auto", "own", "flashinfer"}, TANDEM_FIELD(cuda.attention),
             "Whose kernels compute attention of prompts on an NVIDIA device: Tandem's own, or "
             "FlashInfer's where the program was built with it (scripts/deps.sh --flashinfer) and "
             "it knows the model's heads. auto is own until both were measured on a device. Tokens "
             "after the first are always computed by Tandem's own."),
      one_of("kernel_launch", {"auto", "serial", "dependent"}, TANDEM_FIELD(cuda.kernel_launch),
             "When Tandem's own kernels begin on an NVIDIA device: serial, when the one before is "
             "done; dependent, while it ends (programmatic dependent launch, compute capability "
             "9.0). auto is serial until both were measured on a device."),
      integer("threads", 0, 1024, TANDEM_FIELD(host.threads),
              "Threads of the host device. 0: one per core. Fewer leave room for neighbours."),
      one_of("kernels", {"auto", "amx_bf16", "avx512_bf16", "avx512", "avx2", "portable"},
             TANDEM_FIELD(host.kernels),
             "Instruction set of the host device. auto takes the best of this CPU; the others are "
             "for comparisons."),
      one_of(
          "dtype", {"auto", "float32", "bfloat16"}, TANDEM_FIELD(host.dtype),
          "Of packed weights and KV cache on the host device. auto: float32 for small models that "
          "are stored so, and for the portable kernels; else bfloat16, which takes half the "
          "memory and is all that NVIDIA devices compute in."),
      bytes("kv_cache_bytes", 1LL << 20, 1LL << 46, TANDEM_FIELD(host.kv_cache_bytes),
            "Memory of the host device's KV cache, allocated at start. More lets more and longer "
            "requests run "
            "together and keeps more prefixes."),
      integer("layers_per_segment", 1, 1024, TANDEM_FIELD(host.layers_per_segment),
              "Layers between two safepoints of an iteration that carries offline work alone. "
              "Fewer let a call interrupt it sooner, at a little cost per safepoint."),
  };
}

std::vector<Key> scheduler_keys() {
  return {
      one_of("scheduling_policy",
             {"hygen", "online_first", "fixed_rate", "online_only", "offline_only"},
             TANDEM_FIELD(runtime.scheduling_policy),
             "hygen lets offline work join an iteration as far as the objectives leave time, and "
             "without objectives is online_first, which fills what online requests leave of the "
             "tokens. For comparisons: fixed_rate is online_first with a cap on offline tokens; "
             "online_only and offline_only never run the other class."),
      number("offline_tokens_per_second", 0.001, 1e9,
             TANDEM_FIELD(runtime.planner.offline_tokens_per_second),
             "The cap of fixed_rate, on prompt and generated tokens of offline work together."),
      integer("max_iteration_tokens", 1, 1LL << 20,
              TANDEM_FIELD(runtime.scheduler.max_iteration_tokens),
              "Tokens of one iteration, prompt and decode together. More is better throughput and "
              "longer gaps between the tokens of a stream."),
      integer("max_sequences", 1, 65536, TANDEM_FIELD(runtime.scheduler.max_sequences),
              "Sequences that run at the same time; further ones wait."),
      flag("prefix_cache", TANDEM_FIELD(runtime.scheduler.prefix_cache),
           "Keep the KV blocks of ended requests and reuse them where a prompt begins alike."),
      integer("plans_in_flight", 1, 2, TANDEM_FIELD(runtime.scheduler.plans_in_flight),
              "2 prepares the next iteration while one runs, so that the device does not wait; 1 "
              "is simpler to trace."),
      integer("offline_window", 1, 65536, TANDEM_FIELD(runtime.scheduler.offline_window),
              "Offline requests kept ready in the scheduler; more are fetched from the store when "
              "half of them are used up."),
      one_of(
          "offline_order", {"prefix_fair", "prefix", "fcfs"}, TANDEM_FIELD(runtime.offline_order),
          "prefix runs batch items one after the other that begin alike, so that they share "
          "their prompts' KV blocks; prefix_fair does so too, but lets none wait for ever; fcfs "
          "goes by deadline, then batch, then line. Items whose deadline nears go first in each."),
      ratio("offline_utility_ratio", TANDEM_FIELD(runtime.offline_utility_ratio),
            "How much prefix_fair thinks of sharing, against age. Of r: at most r / (1 - r) items "
            "in a row pass over the oldest one, 99 for 0.99. 0 goes by age alone."),
      seconds("offline_deadline_margin_seconds", 0, 86400000,
              TANDEM_FIELD(runtime.offline_deadline_margin),
              "Items become urgent when, at the rate at which offline work gets done, they would "
              "end less than this before their deadline."),
      integer("max_online_requests", 1, 1 << 20, TANDEM_FIELD(runtime.max_online_requests),
              "Online requests in the engine, running and waiting; above it calls are refused as "
              "overloaded, with the time to try again."),
      integer("max_flex_requests", 1, 1 << 20, TANDEM_FIELD(runtime.max_flex_requests),
              "The same for calls with service_tier flex."),
      integer("encoder_threads", 1, 64, TANDEM_FIELD(runtime.encoder_threads),
              "Threads that render and tokenize long prompts, one call each, so that short ones "
              "need not wait for them."),
      integer("encoder_niceness", 0, 19, TANDEM_FIELD(runtime.encoder_niceness),
              "By how much these threads yield to the others where cores are scarce (nice(1)), so "
              "that a long prompt delays running requests less. While every core computes, its "
              "tokenization then takes some ten times as long."),
      integer("max_encode_queue", 1, 65536, TANDEM_FIELD(runtime.max_encode_queue),
              "Calls that wait for such a thread; above it calls are refused as overloaded. Each "
              "holds at most max_body_bytes."),
      bytes("inline_encode_bytes", 0, 1LL << 20, TANDEM_FIELD(runtime.inline_encode_bytes),
            "Calls with no more text than this are tokenized where they are taken in, which is "
            "sooner than to hand them over."),
      integer("max_observer_restarts", 0, 1000, TANDEM_FIELD(runtime.max_observer_restarts),
              "How often a latency predictor or profiler that died is started again before the "
              "service ends. They only estimate; nothing is lost with them."),
      seconds("stall_after_seconds", 1000, 3600000, TANDEM_FIELD(runtime.stall_after),
              "/readyz fails when work waits and no iteration has ended for so long."),
  };
}

std::vector<Key> objective_keys() {
  using policy::Quantity;
  using policy::Statistic;
  return {
      objective(Quantity::ttft, Statistic::mean, TANDEM_FIELD(slo.ttft_mean),
                "What online calls may wait for their first token on average, offline work "
                "notwithstanding. Several objectives may be set; the strictest decides."),
      objective(Quantity::ttft, Statistic::p50, TANDEM_FIELD(slo.ttft_p50),
                "The same for the median."),
      objective(Quantity::ttft, Statistic::p99, TANDEM_FIELD(slo.ttft_p99),
                "The same for 99 of 100 calls."),
      objective(
          Quantity::tbt, Statistic::mean, TANDEM_FIELD(slo.tbt_mean),
          "What may lie between two tokens of an online call on average, over all gaps of all "
          "calls. An absolute one also cuts online prompts, so that an iteration keeps to it."),
      objective(Quantity::tbt, Statistic::p50, TANDEM_FIELD(slo.tbt_p50),
                "The same for the median."),
      objective(Quantity::tbt, Statistic::p99, TANDEM_FIELD(slo.tbt_p99),
                "The same for 99 of 100 gaps."),
      flag("slo_control", TANDEM_FIELD(runtime.slo.control),
           "Adjust while serving what an iteration may take, so that no more calls or gaps lie "
           "above a limit than its objective allows. false keeps the budget that service started "
           "from."),
      one_of("latency_model", {"auto", "hygen", "context"}, TANDEM_FIELD(latency_model),
             "How iteration times are predicted: by tokens and counts (hygen), by rows, attention "
             "and context (context), or by whichever predicts better."),
      path("profile_file", TANDEM_FIELD(profile_file),
           "What tandem profile measured on this model and device. Empty: the service learns while "
           "it serves, and is careful with offline work until it knows its error."),
  };
}

std::vector<Key> store_keys() {
  return {
      path("data_dir", TANDEM_FIELD(runtime.store.data_dir),
           "Where files, batches and results are kept, on a local disk. Created if it is not "
           "there; one process at a time."),
      integer("max_batch_items", 1, 50000, TANDEM_FIELD(runtime.max_batch_items),
              "Lines that one batch may have. 50000 is also what OpenAI allows."),
      integer("poison_crashes", 1, 1000, TANDEM_FIELD(runtime.store.poison.crashes),
              "Crashes of the process in a row under one batch item until it runs alone, and "
              "again as many until it is given up."),
      integer("poison_kills", 1, 1000, TANDEM_FIELD(runtime.store.poison.kills),
              "The same for kills from outside (out of memory, power), which say less about the "
              "item."),
  };
}

std::vector<Key> network_keys() {
  return {
      text("host", 64, TANDEM_FIELD(server.host),
           "The IP address to listen on. An address that is not loopback needs api_key_file, or "
           "insecure."),
      integer("port", 0, 65535, TANDEM_FIELD(server.port),
              "TCP port. 0: any free one, see --port-file."),
      flag(
          "insecure", TANDEM_FIELD(server.insecure),
          "Allow a host that others can reach although nobody is asked for a key. Put a proxy that "
          "authenticates in front."),
      path("api_key_file", TANDEM_FIELD(server.api_key_file),
           "Keys that callers send as Authorization: Bearer KEY, one per line, as they are or as "
           "sha256: and the hex digits of their digest. Then all but /livez, /readyz and /health "
           "asks for one. Empty: no key is asked for. A key itself is no option: command lines and "
           "environments can be read by others."),
      list("allowed_hosts", 64, TANDEM_FIELD(server.allowed_hosts),
           "Names in the Host field that a loopback service without keys answers to, besides "
           "addresses and localhost: against web pages that let their own name resolve to this "
           "machine. For a proxy that passes its own name on."),
      list("allowed_origins", 64, TANDEM_FIELD(server.allowed_origins),
           "Origins of web pages that may open WebSockets and change things, such as "
           "https://chat.example.org. Programs send no origin and need none."),
      integer("max_connections", 1, 1 << 20, TANDEM_FIELD(server.max_connections),
              "Open connections; more are answered 503. The limit of open files must allow it."),
      bytes("max_body_bytes", 1024, 1LL << 30, TANDEM_FIELD(server.max_body_bytes),
            "Of a JSON body or a WebSocket message; larger ones are refused unread."),
      bytes("max_upload_bytes", 1024, 1LL << 40, TANDEM_FIELD(server.max_upload_bytes),
            "Of an uploaded file. OpenAI allows 200 MB for batches."),
      integer("max_choices", 1, api::most_choices, TANDEM_FIELD(server.call_limits.max_choices),
              "Largest n of one call."),
      integer("max_prompts", 1, api::most_prompts, TANDEM_FIELD(server.call_limits.max_prompts),
              "Prompts in the list of one /v1/completions call."),
      flag("strict_fields", TANDEM_FIELD(server.call_limits.strict_fields),
           "Refuse calls and batch lines with unknown top-level fields, which are otherwise "
           "ignored: "
           "finds misspelt ones."),
      integer("max_responses_per_connection", 1, 4096,
              TANDEM_FIELD(server.max_responses_per_connection),
              "Responses in flight on one WebSocket."),
      integer("max_lanes_per_connection", 1, 4096, TANDEM_FIELD(server.max_lanes_per_connection),
              "Named lanes (stream_id) of one WebSocket."),
      seconds("read_timeout_seconds", 100, 3600000, TANDEM_FIELD(server.read_timeout),
              "For the whole header of a request, then for each further piece of its body."),
      seconds("idle_timeout_seconds", 100, 86400000, TANDEM_FIELD(server.idle_timeout),
              "Between two requests of one connection."),
      seconds("write_timeout_seconds", 100, 3600000, TANDEM_FIELD(server.write_timeout),
              "Without progress in writing to a client: its calls are cancelled and it is closed."),
      seconds("flex_wait_seconds", 0, 86400000, TANDEM_FIELD(server.flex_wait),
              "How long a flex call waits for its first token before it is refused."),
      seconds("sse_ping_seconds", 100, 3600000, TANDEM_FIELD(server.sse_ping),
              "A comment is sent on a silent event stream this often, so that proxies keep it."),
      seconds("websocket_ping_seconds", 100, 3600000, TANDEM_FIELD(server.websocket_ping),
              "Pings on a WebSocket; silent for twice as long, it counts as dead."),
      seconds("websocket_lifetime_seconds", 1000, 604800000,
              TANDEM_FIELD(server.websocket_lifetime),
              "A WebSocket is closed after this time; clients reconnect."),
      seconds("resume_window_seconds", 0, 86400000, TANDEM_FIELD(server.resume_window),
              "How long a resumable response outlives its connection, and its events its end. 0: "
              "no response is resumable."),
      bytes("resume_buffer_bytes", 1LL << 16, 1LL << 40, TANDEM_FIELD(server.resume_buffer_bytes),
            "Events of all resumable responses together; beyond it those without a connection are "
            "given up, the oldest first."),
      bytes("merge_above_bytes", 1024, 1LL << 30, TANDEM_FIELD(server.merge_above_bytes),
            "Unsent to one client: from here on neighbouring deltas are merged."),
      bytes("max_unsent_bytes", 4096, 1LL << 32, TANDEM_FIELD(server.max_unsent_bytes),
            "Unsent to one client: from here on its call is cancelled. At least "
            "merge_above_bytes."),
  };
}

std::vector<Key> process_keys() {
  return {
      one_of("log_level", {"debug", "info", "warn", "error"}, TANDEM_FIELD(log.level),
             "info tells an operator what happens; debug reconstructs a decision. Texts of calls "
             "are never logged."),
      one_of("log_format", {"text", "json"}, TANDEM_FIELD(log.format),
             "Lines on standard error: for people, or one JSON object each for collectors."),
      integer("actor_threads", 1, 64, TANDEM_FIELD(actor_threads),
              "Threads that the actors share; executor, offline queue, request intake and each "
              "encoder have their own. More than a few help nothing."),
      seconds("drain_delay_seconds", 0, 3600000, TANDEM_FIELD(drain_delay),
              "After SIGTERM: how long everything is still served while /readyz fails already, so "
              "that a load balancer can notice. SIGINT (Ctrl-C) does not wait."),
      seconds("drain_timeout_seconds", 0, 86400000, TANDEM_FIELD(drain_timeout),
              "After that, or SIGINT: how long running calls may take to finish before they are "
              "cut off. "
              "Batch items go back to the store at once."),
  };
}

#undef TANDEM_FIELD

}  // namespace

std::string Key::flag() const {
  auto text = "--" + name;
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

std::string Key::variable() const {
  auto text = "TANDEM_" + name;
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

const std::vector<Key>& keys() {
  static const std::vector<Key> all = [] {
    std::vector<Key> table;
    add(table, "Model", model_keys());
    add(table, "Device", device_keys());
    add(table, "Scheduler", scheduler_keys());
    add(table, "Objectives", objective_keys());
    add(table, "Store", store_keys());
    add(table, "Network", network_keys());
    add(table, "Process", process_keys());
    return table;
  }();
  return all;
}

const Key* find_key(std::string_view name) {
  for (const auto& key : keys())
    if (key.name == name) return &key;
  return nullptr;
}

std::string suggestion(std::string_view unknown) {
  std::vector<std::string_view> names;
  for (const auto& key : keys()) names.push_back(key.name);
  const auto near = nearest(unknown, names);
  if (near.empty()) return "'tandem serve --help' lists all keys";
  return "did you mean '" + std::string(near) + "'?";
}

std::string yaml_quoted(std::string_view text) {
  static constexpr char hex[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      result += "\\x";
      result += hex[byte >> 4];
      result += hex[byte & 15];
    } else {
      result += c;
    }
  }
  return result + "\"";
}

bool is_plain_text(std::string_view text, std::size_t longest) {
  return text.size() <= longest && std::none_of(text.begin(), text.end(), [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte < 0x20 || byte == 0x7F;
         });
}

}  // namespace tandem::config
