// SentencePiece's tokenizer.model, by its own library. Internal to model/.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "core/result.hpp"
#include "model/tokenizer.hpp"

namespace tandem::model {

/// `bytes`: the file; `config`: tokenizer_config.json. The beginning-of-text token is put in front
/// unless add_bos_token is false, the end-of-text token behind if add_eos_token is true.
Result<TokenizerPtr> load_sentencepiece(std::string_view bytes, const std::string& where,
                                        const boost::json::object& config,
                                        const std::string& config_where);

}  // namespace tandem::model
