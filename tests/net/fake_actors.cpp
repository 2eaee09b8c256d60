#include "tests/net/fake_actors.hpp"

#include <caf/scoped_actor.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <fstream>
#include <sstream>
#include <utility>

#include "actors/actor_support.hpp"
#include "actors/text_answer.hpp"

namespace tandem::tests {
namespace {

class LetterTokenizer final : public model::Tokenizer {
 public:
  LetterTokenizer() {
    for (char c = 'a'; c <= 'z'; ++c) words_.emplace_back(1, c);
    words_.emplace_back(1000, 'L');
  }
  std::vector<TokenId> encode(std::string_view text, bool, bool) const override {
    return std::vector<TokenId>(text.size(), 0);
  }
  std::string_view token_bytes(TokenId id) const override {
    return words_.at(static_cast<std::size_t>(id));
  }
  bool is_special(TokenId) const override { return false; }
  std::optional<TokenId> find(std::string_view) const override { return std::nullopt; }
  std::size_t vocab_size() const override { return words_.size(); }

 private:
  std::vector<std::string> words_;
};

template <class Handle>
void end(caf::actor_system& system, Handle& actor) {
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  caf::scoped_actor self{system};
  self->wait_for(actor);
  actor = nullptr;
}

}  // namespace

ServedModelPtr fake_model() {
  auto model = std::make_shared<ServedModel>();
  model->fingerprint = "fp_letters";
  model->name = "letters";
  model->config.vocab_size = num_fake_tokens;
  model->tokenizer = std::make_shared<LetterTokenizer>();
  model->max_context = Tokens(4096);
  model->created_at = 1700000000;
  return model;
}

// ---- the engine ----

struct FakeIntakeState {
  static inline const char* name = "fake_intake";
  /// Of calls that are held, by ticket.
  std::map<std::uint64_t, caf::typed_response_promise<msg::Reply<msg::Accepted>>> held;
  std::map<std::uint64_t, caf::typed_response_promise<msg::Reply<msg::TextBody>>> held_texts;
};

struct FakeIntakeBehaviour {
  using Self = RequestIntake::stateful_pointer<FakeIntakeState>;
  static RequestIntake::behavior_type make(Self self, FakeEngine* engine) {
    install_handlers(self);
    return {
        [self, engine](const msg::SubmitTo& submit) {
          auto promise = self->make_response_promise<msg::Reply<msg::Accepted>>();
          std::unique_lock lock(engine->mutex_);
          if (engine->refusal_) {
            promise.deliver(msg::Reply<msg::Accepted>{*engine->refusal_});
            return promise;
          }
          FakeEngine::Call call{submit, {}};
          if (engine->holding_) {
            self->state.held.emplace(submit.submit.ticket, promise);
            engine->calls_.push_back(std::move(call));
            lock.unlock();
            engine->changed_.notify_all();
            return promise;
          }
          msg::Accepted accepted;
          const auto count = submit.submit.call->prompts.size() * submit.submit.call->n;
          for (std::size_t i = 0; i < count; ++i) {
            call.ids.push_back(RequestId(engine->next_id_++));
            accepted.choices.push_back({call.ids.back(), Tokens(3)});
          }
          const auto ids = call.ids;
          engine->calls_.push_back(std::move(call));
          promise.deliver(msg::Reply<msg::Accepted>{std::move(accepted)});
          const auto tokens = engine->at_once_;
          const auto finish = engine->finish_;
          lock.unlock();
          engine->changed_.notify_all();
          if (tokens)
            for (int i = 0; i < *tokens; ++i)
              for (const auto id : ids)
                engine->emit(id, 1, i + 1 == *tokens ? std::optional(finish) : std::nullopt,
                             i % 26);
          return promise;
        },
        [self, engine](const msg::AskText& ask) {
          auto promise = self->make_response_promise<msg::Reply<msg::TextBody>>();
          {
            std::lock_guard lock(engine->mutex_);
            engine->text_calls_.push_back(ask);
            if (engine->refusal_)
              promise.deliver(msg::Reply<msg::TextBody>{*engine->refusal_});
            else if (engine->holding_)
              self->state.held_texts.emplace(ask.ticket, promise);
            else
              promise.deliver(msg::Reply<msg::TextBody>{text_body(*ask.call, *fake_model())});
          }
          engine->changed_.notify_all();
          return promise;
        },
        [engine](const msg::Cancel& cancel) {
          for (const auto id : cancel.ids) {
            {
              std::lock_guard lock(engine->mutex_);
              engine->cancelled_.insert(id);
            }
            engine->changed_.notify_all();
            engine->emit(id, 0, FinishReason::cancelled);
          }
        },
        [self, engine](const msg::Abandon& abandon) {
          const auto left = error(Errc::cancelled, "the caller has left");
          auto held = self->state.held.extract(abandon.ticket);
          auto held_text = self->state.held_texts.extract(abandon.ticket);
          if (held.empty() && held_text.empty()) return;
          if (held_text.empty())
            held.mapped().deliver(msg::Reply<msg::Accepted>{left});
          else
            held_text.mapped().deliver(msg::Reply<msg::TextBody>{left});
          {
            std::lock_guard lock(engine->mutex_);
            ++engine->num_abandoned_;
          }
          engine->changed_.notify_all();
        },
        [](const msg::RequestsEnded&) {},
        [](const msg::Drain&) {},
    };
  }
};

FakeEngine::FakeEngine(caf::actor_system& system)
    : intake_(system.spawn(FakeIntakeBehaviour::make, this)) {}

FakeEngine::~FakeEngine() {
  if (!intake_) return;
  auto& system = intake_->home_system();
  end(system, intake_);
}

void FakeEngine::answer_at_once(std::optional<int> tokens, FinishReason finish) {
  std::lock_guard lock(mutex_);
  at_once_ = tokens;
  finish_ = finish;
}

void FakeEngine::hold_calls() {
  std::lock_guard lock(mutex_);
  holding_ = true;
}

bool FakeEngine::wait_for_abandoned(std::size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return num_abandoned_ >= count; });
}

void FakeEngine::refuse_with(std::optional<Error> reason) {
  std::lock_guard lock(mutex_);
  refusal_ = std::move(reason);
}

msg::SubmitTo FakeEngine::wait_for_call(std::size_t count) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return calls_.size() >= count; }))
    throw std::runtime_error("the call never reached the engine");
  return calls_.at(count - 1).submit;
}

msg::AskText FakeEngine::wait_for_text_call(std::size_t count) {
  std::unique_lock lock(mutex_);
  const auto came = [&] { return text_calls_.size() >= count; };
  if (!changed_.wait_for(lock, std::chrono::seconds(20), came))
    throw std::runtime_error("the call about text never reached the engine");
  return text_calls_.at(count - 1);
}

std::vector<RequestId> FakeEngine::ids(std::size_t index) {
  wait_for_call(index + 1);
  std::lock_guard lock(mutex_);
  return calls_.at(index).ids;
}

bool FakeEngine::is_cancelled(RequestId id) {
  std::lock_guard lock(mutex_);
  return cancelled_.contains(id);
}

std::size_t FakeEngine::num_calls() {
  std::lock_guard lock(mutex_);
  return calls_.size();
}

void FakeEngine::emit(RequestId id, int tokens, std::optional<FinishReason> finish, TokenId token,
                      std::optional<Error> reason) {
  std::vector<TokenEvent> events;
  for (int i = 0; i < tokens; ++i) {
    TokenEvent event;
    event.id = id;
    event.token = token;
    event.logprob = -0.5F;
    events.push_back(event);
  }
  if (finish) {
    if (events.empty() || *finish != FinishReason::length) {
      TokenEvent event;
      event.id = id;
      events.push_back(event);
    }
    events.back().finish = finish;
    events.back().error = std::move(reason);
  }
  send(id, std::move(events));
}

void FakeEngine::send(RequestId id, std::vector<TokenEvent> events) {
  std::lock_guard lock(mutex_);
  if (ended_.contains(id)) return;  // as the engine: nothing after the end
  if (events.back().finish) ended_.insert(id);
  for (const auto& call : calls_)
    if (std::find(call.ids.begin(), call.ids.end(), id) != call.ids.end())
      caf::anon_send(
          call.submit.sink,
          msg::TokensEmitted{std::make_shared<const std::vector<TokenEvent>>(std::move(events))});
}

bool FakeEngine::wait_for_cancel(RequestId id) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return cancelled_.contains(id); });
}

// ---- the offline queue ----

struct FakeQueueState {
  static inline const char* name = "fake_queue";
};

struct FakeQueueBehaviour {
  using Self = OfflineQueue::stateful_pointer<FakeQueueState>;
  template <class Map>
  static auto find(Map& map, const std::string& id, const char* what)
      -> Result<typename Map::mapped_type> {
    const auto found = map.find(id);
    if (found == map.end()) return error(Errc::not_found, std::string("no such ") + what, "id");
    return found->second;
  }

  static OfflineQueue::behavior_type make(Self self, FakeQueue* fake) {
    install_handlers(self);
    return {
        [](const msg::RefillOffline&) {},
        [](const msg::TokensEmitted&) {},
        [](const msg::Tick&) {},
        [](const msg::Work&) {},
        [](const msg::Drain&) {},
        [fake](const msg::NewUpload&) {
          std::lock_guard lock(fake->mutex_);
          const auto name = "upload-" + std::to_string(fake->next_++);
          return msg::Reply<msg::UploadPath>{
              msg::UploadPath{(fake->folder_.path() / name).string()}};
        },
        [fake](const msg::AddFile& add) {
          std::lock_guard lock(fake->mutex_);
          fake->last_added_ = add;
          store::FileInfo info;
          info.id = "file-" + std::to_string(fake->next_++);
          info.filename = add.filename;
          info.purpose = add.purpose;
          info.bytes = static_cast<std::int64_t>(std::filesystem::file_size(add.uploaded_path));
          const auto path = (fake->folder_.path() / info.id).string();
          std::filesystem::rename(add.uploaded_path, path);
          fake->files_[info.id] = info;
          fake->paths_[info.id] = path;
          return msg::Reply<store::FileInfo>{info};
        },
        [fake](const msg::ListFiles&) {
          std::lock_guard lock(fake->mutex_);
          msg::FilePage page;
          for (const auto& [id, info] : fake->files_) page.files.push_back(info);
          return msg::Reply<msg::FilePage>{std::move(page)};
        },
        [fake](const msg::GetFile& get) -> msg::Reply<msg::FileOnDisk> {
          std::lock_guard lock(fake->mutex_);
          auto info = find(fake->files_, get.id, "file");
          if (!info) return {info.error()};
          return {msg::FileOnDisk{*info, fake->paths_[get.id]}};
        },
        [fake](const msg::RemoveFile& remove) -> msg::Reply<msg::Nothing> {
          std::lock_guard lock(fake->mutex_);
          if (fake->files_.erase(remove.id) == 0)
            return {error(Errc::not_found, "no such file", "id")};
          return {msg::Nothing{}};
        },
        [fake](const msg::CreateBatch& create) -> msg::Reply<store::BatchInfo> {
          std::lock_guard lock(fake->mutex_);
          if (!create.takes_over_key && !create.idempotency_key.empty() &&
              fake->by_key_.contains(create.idempotency_key))
            return {fake->batches_[fake->by_key_[create.idempotency_key]]};
          if (!fake->files_.contains(create.input_file_id))
            return {error(Errc::not_found, "no such file", "input_file_id")};
          store::BatchInfo info;
          info.id = "batch_" + std::to_string(fake->next_++);
          info.endpoint = create.endpoint;
          info.completion_window = create.completion_window;
          info.input_file_id = create.input_file_id;
          info.metadata = create.metadata;
          fake->batches_[info.id] = info;
          if (!create.idempotency_key.empty()) fake->by_key_[create.idempotency_key] = info.id;
          return {info};
        },
        [fake](const msg::GetBatch& get) -> msg::Reply<store::BatchInfo> {
          std::lock_guard lock(fake->mutex_);
          return {find(fake->batches_, get.id, "batch")};
        },
        [fake](const msg::ListBatches& list) {
          std::lock_guard lock(fake->mutex_);
          msg::BatchPage page;
          for (const auto& [id, info] : fake->batches_)
            if (static_cast<std::int64_t>(page.batches.size()) < list.limit)
              page.batches.push_back(info);
          page.has_more = page.batches.size() < fake->batches_.size();
          return msg::Reply<msg::BatchPage>{std::move(page)};
        },
        [fake](const msg::CancelBatch& cancel) -> msg::Reply<store::BatchInfo> {
          std::lock_guard lock(fake->mutex_);
          auto found = find(fake->batches_, cancel.id, "batch");
          if (found) {
            found->state = store::BatchState::cancelling;
            fake->batches_[cancel.id] = *found;
          }
          return {found};
        },
        [fake](const msg::ProbeStore&) -> msg::Reply<msg::Nothing> {
          std::lock_guard lock(fake->mutex_);
          if (fake->probe_fails_) return {error(Errc::storage_failed, "the disk is full")};
          return {msg::Nothing{}};
        },
    };
  }
};

FakeQueue::FakeQueue(caf::actor_system& system)
    : queue_(system.spawn(FakeQueueBehaviour::make, this)) {}

FakeQueue::~FakeQueue() {
  if (!queue_) return;
  auto& system = queue_->home_system();
  end(system, queue_);
}

std::string FakeQueue::content(const std::string& id) {
  std::lock_guard lock(mutex_);
  std::ifstream file(paths_.at(id), std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<msg::AddFile> FakeQueue::last_added() {
  std::lock_guard lock(mutex_);
  return last_added_;
}

std::size_t FakeQueue::num_unclaimed_uploads() {
  std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
    if (entry.path().filename().string().starts_with("upload-")) ++count;
  return count;
}

void FakeQueue::fail_probe(bool on) {
  std::lock_guard lock(mutex_);
  probe_fails_ = on;
}

}  // namespace tandem::tests
