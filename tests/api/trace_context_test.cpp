// W3C Trace Context: what is taken for one, and what for none.
#include "api/trace_context.hpp"

#include <set>

#include "tests/api/support.hpp"

namespace tandem::api {
namespace {

const std::string trace_id = "0af7651916cd43dd8448eb211c80319c", span_id = "b7ad6b7169203331";

}  // namespace

TEST_CASE("a traceparent names trace, span and flags") {
  const auto text = "00-" + trace_id + '-' + span_id + "-01";
  const auto context = parse_traceparent(text);
  REQUIRE(context);
  CHECK(context->trace_id == trace_id);
  CHECK(context->span_id == span_id);
  CHECK(context->flags == "01");
  CHECK(context->header() == text);
}

TEST_CASE("later versions may have more behind the fields of version 00") {
  const auto fields = trace_id + '-' + span_id + "-00";
  CHECK(parse_traceparent("cc-" + fields));
  CHECK(parse_traceparent("cc-" + fields + "-what-the-future-will-be"));
  CHECK_FALSE(parse_traceparent("cc-" + fields + "x"));
  CHECK_FALSE(parse_traceparent("00-" + fields + "-more"));
}

TEST_CASE("what is not a traceparent counts as absent") {
  const auto valid = "00-" + trace_id + '-' + span_id + "-01";
  const std::string zeros(32, '0');
  for (const auto& text :
       {std::string(), std::string("00"), valid.substr(0, 54), valid + "0",
        "ff-" + trace_id + '-' + span_id + "-01", "0X-" + trace_id + '-' + span_id + "-01",
        "00-" + zeros + '-' + span_id + "-01", "00-" + trace_id + "-0000000000000000-01",
        "00-" + trace_id + '-' + span_id + "-0g", "00_" + trace_id + '-' + span_id + "-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" + span_id + "-01",
        "00-" + trace_id + '_' + span_id + "-01", "00-" + trace_id + '-' + span_id + "_01"}) {
    INFO(text);
    CHECK_FALSE(parse_traceparent(text));
  }
  // No single byte of the separators and digits may be something else.
  for (std::size_t at = 0; at < valid.size(); ++at) {
    auto broken = valid;
    broken[at] = '\n';
    CHECK_FALSE(parse_traceparent(broken));
  }
}

TEST_CASE("our span is another one in the same trace") {
  const TraceContext caller{trace_id, span_id, "01"};
  std::set<std::string> spans{span_id};
  for (int i = 0; i < 100; ++i) {
    const auto ours = new_span(caller);
    CHECK(ours.trace_id == trace_id);
    CHECK(ours.flags == "01");
    CHECK(spans.insert(ours.span_id).second);
    CHECK(parse_traceparent(ours.header()));
  }
}

}  // namespace tandem::api
