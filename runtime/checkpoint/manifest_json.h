// The JSON view of a manifest: all that it says, for people and scripts.
//
// Written in parts, so that a manifest of millions of boxes needs no second memory of its size.
// Pure; any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

#include "runtime/checkpoint/manifest.h"

namespace muster::checkpoint {

// One JSON object, with the commit's name.  `indent` spaces before each line but the first.
void WriteManifestJson(const Manifest& manifest, std::string_view commit, std::string_view indent,
                       const std::function<void(std::string_view)>& write);
// Of the tensors only these, by index.
void WriteManifestJson(const Manifest& manifest, std::string_view commit, std::string_view indent,
                       std::span<const std::size_t> tensors,
                       const std::function<void(std::string_view)>& write);

}  // namespace muster::checkpoint
