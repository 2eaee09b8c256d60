// Model folders that tests write: a config.json as text with some keys replaced, and safetensors
// files with any header.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace tandem::tests {

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  // Overwriting in place makes some file systems wait for the disk.
  std::filesystem::remove(path);
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  out.close();
  REQUIRE(out.good());
}

/// A config.json of a tiny Llama with the keys of `changes` (a JSON object) put in its place; a key
/// set to "remove" is taken out.
inline std::string llama_config(const std::string& changes = "{}") {
  auto config = boost::json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
    "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 10, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2,
    "torch_dtype": "float32"})")
                    .as_object();
  const auto changed = boost::json::parse(changes).as_object();
  for (const auto& [key, value] : changed) {
    if (value == "remove") {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return boost::json::serialize(config);
}

/// A safetensors file: the length, `header`, then `data_bytes` zeros.
inline std::string safetensors_file(const std::string& header, std::size_t data_bytes) {
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>((header.size() >> (8 * i)) & 0xFF));
  return file + header + std::string(data_bytes, '\0');
}

/// Adds a tensor behind those already in `header`; `data_bytes` grows by its size.
inline void add_tensor(boost::json::object& header, std::size_t& data_bytes,
                       const std::string& name, const boost::json::array& shape,
                       const std::string& dtype = "F32") {
  std::size_t size = dtype == "F32" ? 4 : 2;
  for (const auto& extent : shape) size *= static_cast<std::size_t>(extent.as_int64());
  header[name] = {
      {"dtype", dtype}, {"shape", shape}, {"data_offsets", {data_bytes, data_bytes + size}}};
  data_bytes += size;
}

/// The tensors that llama_config() wants.
inline boost::json::object llama_header(std::size_t& data_bytes) {
  boost::json::object header;
  const std::string layer = "model.layers.0.";
  add_tensor(header, data_bytes, "model.embed_tokens.weight", {10, 8});
  add_tensor(header, data_bytes, layer + "input_layernorm.weight", {8});
  add_tensor(header, data_bytes, layer + "self_attn.q_proj.weight", {8, 8});
  add_tensor(header, data_bytes, layer + "self_attn.k_proj.weight", {4, 8});
  add_tensor(header, data_bytes, layer + "self_attn.v_proj.weight", {4, 8});
  add_tensor(header, data_bytes, layer + "self_attn.o_proj.weight", {8, 8});
  add_tensor(header, data_bytes, layer + "post_attention_layernorm.weight", {8});
  add_tensor(header, data_bytes, layer + "mlp.gate_proj.weight", {12, 8});
  add_tensor(header, data_bytes, layer + "mlp.up_proj.weight", {12, 8});
  add_tensor(header, data_bytes, layer + "mlp.down_proj.weight", {8, 12});
  add_tensor(header, data_bytes, "model.norm.weight", {8});
  return header;
}

}  // namespace tandem::tests
