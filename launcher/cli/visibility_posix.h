// How long it takes until another node sees a name that this one has made in a store.
//
// One asks, another answers: the asker makes ask-K in its folder, the answerer makes answer-K as
// soon as it lists it; half of the time between is told.  One thread.
#pragma once

#include <chrono>
#include <string>

#include "runtime/checkpoint/store.h"

namespace muster {

// Seconds, the median of some rounds.  kDeadline: nobody answers.
Result<double> AskAnother(checkpoint::Store& store, const std::string& folder,
                          std::chrono::seconds patience);

// Answers whoever asks in a folder that begins with `prefix`, until one is done.  kDeadline: nobody
// asked.
Status AnswerAnother(checkpoint::Store& store, const std::string& prefix,
                     std::chrono::seconds patience);

}  // namespace muster
