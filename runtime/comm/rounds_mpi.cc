#include "runtime/comm/rounds_mpi.h"

#include <string>

namespace muster {

Status MpiStatus(const char* doing, int error) {
  if (error == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(error, text, &length);
  return Status(Code::kUnavailable, std::string(doing) + ": " + text);
}

MpiRounds::MpiRounds(MPI_Comm comm, int tag, Schedule schedule)
    : comm_(comm), tag_(tag), schedule_(std::move(schedule)) {
  Begin();
}

void MpiRounds::Begin() {
  while (!done() && schedule_.rounds[round_].transfers.empty()) {
    if (schedule_.rounds[round_].then) schedule_.rounds[round_].then();
    ++round_;
  }
  left_ = unmatched_ = 0;
  if (done()) return;
  const auto& transfers = schedule_.rounds[round_].transfers;
  requests_.assign(transfers.size(), MPI_REQUEST_NULL);
  ended_.assign(transfers.size(), false);
  completed_.resize(transfers.size());
  statuses_.resize(transfers.size());
  left_ = transfers.size();
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    const Transfer& transfer = transfers[i];
    if (!transfer.sends) ++unmatched_;
    if (!transfer.sends || !failed_.ok()) continue;
    // A part has few MiB: its bytes are an int.
    failed_ = MpiStatus("sending", MPI_Isend(transfer.at, static_cast<int>(transfer.bytes),
                                             MPI_BYTE, transfer.peer, tag_, comm_, &requests_[i]));
  }
}

void MpiRounds::Match(std::size_t i) {
  const Transfer& transfer = schedule_.rounds[round_].transfers[i];
  int there = 0;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  failed_ =
      MpiStatus("receiving", MPI_Improbe(transfer.peer, tag_, comm_, &there, &message, &status));
  if (!failed_.ok() || there == 0) return;
  --unmatched_;
  int bytes = 0;
  MPI_Get_count(&status, MPI_BYTE, &bytes);
  std::byte* at = transfer.at;
  if (static_cast<std::size_t>(bytes) != transfer.bytes) {
    failed_ = Status(Code::kInvalid, "rank " + std::to_string(transfer.peer) + " sent " +
                                         std::to_string(bytes) + " bytes, not " +
                                         std::to_string(transfer.bytes));
    // Its sender waits for a place, and gets one that outlives us.
    at = new std::byte[static_cast<std::size_t>(bytes) + 1];
  }
  MPI_Request request = MPI_REQUEST_NULL;
  const Status received =
      MpiStatus("receiving", MPI_Imrecv(at, bytes, MPI_BYTE, &message, &request));
  if (failed_.ok()) {
    failed_ = received;
    requests_[i] = request;
  } else if (request != MPI_REQUEST_NULL) {
    MPI_Request_free(&request);
  }
}

bool MpiRounds::Advance() {
  bool moved = false;
  while (!done() && failed_.ok()) {
    const std::size_t before = left_;
    MatchAll();
    TestAll();
    moved = moved || left_ != before;
    if (left_ > 0 || !failed_.ok()) return moved;
    if (schedule_.rounds[round_].then) schedule_.rounds[round_].then();
    ++round_;
    Begin();
  }
  return moved;
}

void MpiRounds::MatchAll() {
  const auto& transfers = schedule_.rounds[round_].transfers;
  int blocked = -1;  // The pieces of a long message come in their order.
  for (std::size_t i = 0; unmatched_ > 0 && i < transfers.size() && failed_.ok(); ++i) {
    if (ended_[i] || transfers[i].sends || requests_[i] != MPI_REQUEST_NULL) continue;
    if (transfers[i].peer != blocked) Match(i);
    if (requests_[i] == MPI_REQUEST_NULL) blocked = transfers[i].peer;
  }
}

// All at once: each call of MPI that finds nothing looks at every socket.
void MpiRounds::TestAll() {
  if (!failed_.ok()) return;
  int count = 0;
  const int error = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count,
                                 completed_.data(), statuses_.data());
  if (count == MPI_UNDEFINED) return;
  for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
    ended_[static_cast<std::size_t>(completed_[k])] = true;
    --left_;
    if (error == MPI_ERR_IN_STATUS && failed_.ok()) {
      failed_ = MpiStatus("a transfer", statuses_[k].MPI_ERROR);
    }
  }
  if (error != MPI_ERR_IN_STATUS && failed_.ok()) failed_ = MpiStatus("a transfer", error);
}

void MpiRounds::Missing(std::vector<int>& ranks) const {
  for (std::size_t i = 0; !done() && i < ended_.size(); ++i) {
    if (ended_[i]) continue;
    ranks.push_back(schedule_.rounds[round_].transfers[i].peer);
  }
}

// What MPI may still look at keeps its memory: the scratch of a send that nobody will receive, or
// of a recv that has begun.
void MpiRounds::Cancel() {
  bool under_way = false;
  for (MPI_Request& request : requests_) {
    if (request == MPI_REQUEST_NULL) continue;
    under_way = true;
    MPI_Request_free(&request);
  }
  requests_.clear();
  if (!under_way) return;
  for (auto& scratch : schedule_.scratch) static_cast<void>(scratch.release());
}

}  // namespace muster
