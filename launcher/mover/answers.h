// What a mover answers, given a store: the job daemon's words (runtime/base/mover.h) on one side,
// the checkpoint engine on the other.
//
// A failure is an answer, Failed with its code and text.  One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "runtime/base/mover.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/store.h"

namespace muster::mover {

// The run in the store that was opened.
struct Opening {
  checkpoint::Store& store;
  std::string run;
};

FromMover Answer(const Opening& at, const Claim& claim, std::uint64_t nonce, std::int64_t now_ms);
// `memory` is the whole of the descriptor's.
FromMover Answer(const Opening& at, const Write& write, std::span<const std::byte> memory);
FromMover Answer(const Opening& at, const Commit& commit, std::int64_t now_ms);
FromMover Answer(const Opening& at, const Load& load, const checkpoint::Allocate& allocate);
FromMover Answer(const Opening& at, const OpenNewest& open, const checkpoint::Allocate& allocate);
FromMover Answer(const Opening& at, const ReadBlocks& read, std::span<std::byte> memory);

FromMover Answer(const Opening& at, const LoadParts& load, const checkpoint::Allocate& allocate);

// Of a local store.
FromMover Answer(const Opening& at, const KeepPart& keep);
FromMover Answer(const Opening& at, const FindParts& find);
FromMover Answer(const Opening& at, const FindSave& find);
FromMover Answer(const Opening& at, const DropParts& drop);
// `at` is the shared store.
FromMover Answer(const Opening& at, const Opening& local, const MovePart& move);

// After Committed has been sent: lets go of what `commit` makes superfluous.
Status LetGoAfter(const Opening& at, const Commit& commit, std::int64_t now_ms);

FromMover FailedWith(const Status& status);

}  // namespace muster::mover
