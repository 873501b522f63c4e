// The element types of tensors, as safetensors names them.
//
// Pure; any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace muster {

struct Dtype {
  std::string_view name;
  std::uint64_t bytes;  // Of an element.
};

// A manifest names them by their place: new ones come last.
inline constexpr std::array<Dtype, 18> kDtypes = {{{"BOOL", 1},
                                                   {"U8", 1},
                                                   {"I8", 1},
                                                   {"F8_E5M2", 1},
                                                   {"F8_E4M3", 1},
                                                   {"F8_E8M0", 1},
                                                   {"F8_E4M3FNUZ", 1},
                                                   {"F8_E5M2FNUZ", 1},
                                                   {"I16", 2},
                                                   {"U16", 2},
                                                   {"F16", 2},
                                                   {"BF16", 2},
                                                   {"I32", 4},
                                                   {"U32", 4},
                                                   {"F32", 4},
                                                   {"F64", 8},
                                                   {"I64", 8},
                                                   {"U64", 8}}};

constexpr std::optional<std::uint64_t> DtypeBytes(std::string_view name) {
  for (const Dtype& known : kDtypes) {
    if (known.name == name) return known.bytes;
  }
  return std::nullopt;
}

}  // namespace muster
