#include "runtime/train/host_state.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "runtime/base/text.h"

namespace muster {
namespace {

std::string ValueOf(const RunFacts& facts, const std::string& name) {
  const auto it = facts.find(name);
  return it == facts.end() ? "nothing" : it->second;
}

}  // namespace

std::string EncodeHostState(const HostState& state) {
  nlohmann::json json = {
      {"format", 1}, {"run", state.facts}, {"step", state.step}, {"loss_ema", state.loss_ema}};
  // Only where they are used: without them a checkpoint is what it always was.
  if (state.skipped > 0) json["skipped"] = state.skipped;
  if (state.loss_scale != 1) json["loss_scale"] = state.loss_scale;
  if (state.good_steps > 0) json["good_steps"] = state.good_steps;
  return json.dump();
}

Result<HostState> DecodeHostState(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto is = [&](const char* name, auto check) {
    return json.contains(name) && (json[name].*check)();
  };
  using Json = nlohmann::json;
  if (!json.is_object() || !is("format", &Json::is_number_unsigned) ||
      !is("run", &Json::is_object) || !is("step", &Json::is_number_unsigned) ||
      !is("loss_ema", &Json::is_number)) {
    return Status(Code::kDataLoss, "the checkpoint's host state is not what this build writes");
  }
  if (json["format"] != 1) {
    return Status(Code::kUnimplemented, "the checkpoint's host state has format " +
                                            json["format"].dump() + ", this build reads 1");
  }
  HostState state{.step = json["step"], .loss_ema = json["loss_ema"]};
  if (is("skipped", &Json::is_number_unsigned)) state.skipped = json["skipped"];
  if (is("loss_scale", &Json::is_number)) state.loss_scale = json["loss_scale"];
  if (is("good_steps", &Json::is_number_unsigned)) state.good_steps = json["good_steps"];
  for (const auto& [name, value] : json["run"].items()) {
    state.facts[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return state;
}

Status CheckSameRun(const RunFacts& of_checkpoint, const RunFacts& of_run) {
  if (of_checkpoint.empty()) return {};
  std::vector<std::string> differences;
  RunFacts names = of_checkpoint;
  names.insert(of_run.begin(), of_run.end());
  for (const auto& [name, value] : names) {
    const std::string theirs = ValueOf(of_checkpoint, name);
    const std::string ours = ValueOf(of_run, name);
    if (theirs == ours) continue;
    differences.push_back(name + " is " + theirs + " in the checkpoint and " + ours +
                          " in this run");
  }
  if (differences.empty()) return {};
  return Status(Code::kInvalid,
                "cannot go on from the checkpoint with the same bits: " + Join(differences, "; ") +
                    ". Run with what the checkpoint has, or start a new one "
                    "in another folder");
}

std::uint64_t Fingerprint(const RunFacts& facts) {
  std::uint64_t hash = 0xCBF29CE484222325U;  // FNV-1a.
  const auto add = [&hash](const std::string& text) {
    for (const char c : text + '\n') {
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
    }
  };
  for (const auto& [name, value] : facts) {
    add(name);
    add(value);
  }
  return hash == 0 ? 1 : hash;
}

}  // namespace muster
