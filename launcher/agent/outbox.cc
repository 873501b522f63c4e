#include "launcher/agent/outbox.h"

namespace muster {
namespace {

bool IsLine(const Report& report) {
  if (const auto* progress = std::get_if<JobProgress>(&report); progress != nullptr) {
    return !progress->note.empty();
  }
  return std::holds_alternative<JobMark>(report);
}

}  // namespace

void Outbox::Put(const Report& report) {
  if (IsLine(report)) {
    lines_.push_back(report);
    if (lines_.size() > kLines) lines_.pop_front();
  } else if (const auto* status = std::get_if<JobdStatus>(&report); status != nullptr) {
    statuses_[status->job] = *status;
  } else if (const auto* progress = std::get_if<JobProgress>(&report); progress != nullptr) {
    progress_[progress->job] = *progress;
  }
}

void Outbox::Broke() {
  statuses_.clear();
  progress_.clear();
}

std::optional<Report> Outbox::Take() {
  std::optional<Report> next;
  // Statuses first: somebody waits for them.
  if (!statuses_.empty()) {
    next = std::move(statuses_.begin()->second);
    statuses_.erase(statuses_.begin());
  } else if (!lines_.empty()) {
    next = std::move(lines_.front());
    lines_.pop_front();
  } else if (!progress_.empty()) {
    next = std::move(progress_.begin()->second);
    progress_.erase(progress_.begin());
  }
  return next;
}

void Outbox::Return(Report report) {
  if (!IsLine(report)) return;
  lines_.push_front(std::move(report));
  if (lines_.size() > kLines) lines_.pop_front();
}

}  // namespace muster
