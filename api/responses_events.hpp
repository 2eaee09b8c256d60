// The events of one response, as OpenAI's Responses API streams them over WebSocket and SSE. A
// sequence number is given when an event is written out, so numbers have no gaps whatever was
// merged before.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/choice_stream.hpp"
#include "api/parse.hpp"
#include "core/generate.hpp"

namespace tandem::api {

class ResponseEvents {
 public:
  /// `stream_id` empty: the events carry none.
  ResponseEvents(const GenerateCall& call, std::string stream_id, std::int64_t unix_now,
                 const ResponseEcho& echo = {});

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::string& stream_id() const { return stream_id_; }
  /// How many were made, which is the number of the next one.
  [[nodiscard]] std::int64_t num_events() const { return sequence_; }

  /// response.created, response.in_progress. If `only_message`, nothing but a message can come,
  /// which begins at once: response.output_item.added, response.content_part.added.
  std::vector<std::string> opening(bool only_message);
  /// What `parts` add to the response, in their order. Items of its output (a message, reasoning, a
  /// call) begin with the first of their parts and end where another one begins. Log-probabilities
  /// belong to messages: those of reasoning and calls are left out.
  std::vector<std::string> add(const model::AnswerParts& parts,
                               const std::vector<LogprobEntry>& logprobs);
  /// The .done events and the one terminal event: response.completed, .incomplete (length,
  /// cancelled: its object has the status "cancelled") or .failed. `reason`, if any, belongs to
  /// FinishReason::failed.
  std::vector<std::string> closing(FinishReason finish, const Usage& usage, const Error* reason);
  /// The whole object, for a reply in one piece (after closing()).
  [[nodiscard]] std::string final_object() const { return final_object_; }

 private:
  using Kind = model::AnswerPart::Kind;
  /// One item of the output, while it grows.
  struct Item {
    Kind kind = Kind::content;
    std::string id, text;  ///< of a call: its arguments
    std::string name, call_id;
    boost::json::array logprobs;
  };

  std::string event(std::string_view type, boost::json::object fields);
  /// One that carries text: padded, if that is asked for.
  std::string delta_event(std::string_view type, boost::json::object fields);
  [[nodiscard]] boost::json::object content_part() const;
  [[nodiscard]] boost::json::object item(std::string_view status, bool with_content) const;
  [[nodiscard]] boost::json::object response(std::string_view status) const;
  [[nodiscard]] boost::json::object place() const;
  [[nodiscard]] boost::json::object place_inside() const;
  void begin_item(const model::AnswerPart& part, std::vector<std::string>& events);
  void end_item(std::string_view status, std::vector<std::string>& events);
  void grow_item(std::string_view text, boost::json::array logprobs,
                 std::vector<std::string>& events);

  std::string id_, stream_id_;
  const bool prefill_only_, obfuscates_;
  boost::json::object fixed_;  ///< what says what was asked for; the same in every event
  std::int64_t sequence_ = 0;
  std::optional<Item> item_;   ///< the one that grows
  boost::json::array output_;  ///< those that ended
  boost::json::array waiting_logprobs_;
  std::string final_object_;
};

}  // namespace tandem::api
