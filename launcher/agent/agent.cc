#include "launcher/agent/agent.h"

#include <algorithm>
#include <utility>

namespace muster {
namespace {

JobId JobOf(const Order& order) {
  return std::visit([](const auto& o) { return o.job; }, order);
}

class Turn {
 public:
  explicit Turn(AgentState& state) : s_(state) {}
  std::vector<AgentEffect> Take() && { return std::move(effects_); }

  void On(const AgentBegan& event) {
    for (const JobId job : event.found) {
      LocalJob& local = s_.jobs[job];
      local.life = JobdLife::kAttaching;
      local.status.job = job;
      Do(AttachJobd{job});
    }
  }

  void On(const SessionOpened& event) {
    s_.incarnation = event.incarnation;
    s_.session = true;
    s_.registered = false;
    Register();
  }

  void On(const SessionClosed&) { s_.session = s_.registered = false; }

  void On(const OrderArrived& event) {
    if (event.incarnation != s_.incarnation || !s_.registered) return;
    const JobId job = JobOf(event.order);
    const auto found = s_.jobs.find(job);
    if (found != s_.jobs.end()) {
      std::visit([&](const auto& order) { Obey(found->second, order); }, event.order);
    } else {
      std::visit([&](const auto& order) { ObeyAnew(order); }, event.order);
    }
  }

  void On(const JobdConnected& event) {
    LocalJob* local = Find(event.job);
    if (local == nullptr || local->life != JobdLife::kSpawned) return;
    Hear(*local);
  }

  void On(const JobdSaid& event) {
    LocalJob* local = Find(event.status.job);
    if (local == nullptr || local->life > JobdLife::kAlive) return;
    local->status = event.status;
    Hear(*local);
    Say(*local);
    Register();
  }

  void On(const JobdExited& event) {
    LocalJob* local = Find(event.job);
    if (local == nullptr || local->life > JobdLife::kAlive) return;
    if (event.last.job == event.job && event.last.attempt >= local->status.attempt) {
      local->status = event.last;
    } else if (local->status.instance == 0 && local->life != JobdLife::kAttaching) {
      local->status.cause = {.kind = CauseKind::kLaunch, .text = "the job daemon did not come up"};
    }
    local->life = JobdLife::kContaining;
    for (const Order& order : std::exchange(local->waiting, {})) {
      std::visit([&](const auto& o) { Obey(*local, o); }, order);
    }
    Do(ContainJob{event.job});
    Register();
  }

  void On(const JobContained& event) {
    LocalJob* local = Find(event.job);
    if (local == nullptr || local->life != JobdLife::kContaining) return;
    // A jobd of an earlier life that wrote no status never took part in anything.
    const bool never_was =
        local->status.instance == 0 && !local->next && local->status.cause.kind == CauseKind::kNone;
    if (local->ending || never_was) return Sweep(*local);
    if (local->next) return Spawn(*local, *std::exchange(local->next, std::nullopt));
    local->life = JobdLife::kDead;
    local->status.phase = MemberPhase::kDead;
    local->status.port = 0;
    local->status.ranks_alive = 0;
    local->waiting.clear();
    Say(*local);
    Register();
  }

  void On(const JobSwept& event) {
    LocalJob* local = Find(event.job);
    if (local == nullptr || local->life != JobdLife::kSweeping) return;
    local->status.phase = MemberPhase::kGone;
    Say(*local);
    if (local->next) {
      local->ending = false;
      Spawn(*local, *std::exchange(local->next, std::nullopt));
    } else {
      s_.jobs.erase(event.job);
    }
    Register();
  }

 private:
  void Do(auto effect) { effects_.emplace_back(std::move(effect)); }

  LocalJob* Find(JobId job) {
    const auto found = s_.jobs.find(job);
    return found == s_.jobs.end() ? nullptr : &found->second;
  }

  void Say(const LocalJob& local) {
    if (s_.registered) Do(SendStatus{local.status});
  }

  // Unknown: neither the jobd nor its status file has said yet what it is.
  static bool Unknown(const LocalJob& local) {
    return local.life == JobdLife::kAttaching ||
           (local.status.instance == 0 &&
            (local.life == JobdLife::kContaining || local.life == JobdLife::kSweeping));
  }

  void Register() {
    if (!s_.session || s_.registered) return;
    RegisterWith registration;
    for (const auto& [job, local] : s_.jobs) {
      if (Unknown(local)) return;
      registration.jobds.push_back(local.status);
    }
    s_.registered = true;
    Do(std::move(registration));
  }

  void Hear(LocalJob& local) {
    if (local.life == JobdLife::kAlive) return;
    local.life = JobdLife::kAlive;
    for (Order& order : std::exchange(local.waiting, {})) {
      Do(TellJobd{local.status.job, std::move(order)});
    }
  }

  void Spawn(LocalJob& local, StartAttempt order) {
    local.life = JobdLife::kSpawned;
    local.status = {.job = order.job, .attempt = order.attempt};
    Do(SpawnJobd{std::move(order)});
  }

  void Sweep(LocalJob& local) {
    local.life = JobdLife::kSweeping;
    local.ending = true;
    local.waiting.clear();
    Do(SweepJob{local.status.job});
  }

  // ---- orders for a job that is not known here --------------------------------------------------

  void ObeyAnew(const StartAttempt& order) { Spawn(s_.jobs[order.job], order); }
  void ObeyAnew(const StopAttempt& order) {
    Do(SendStatus{{.job = order.job, .attempt = order.attempt, .phase = MemberPhase::kDead}});
  }
  void ObeyAnew(const EndJob& order) {
    Do(SendStatus{{.job = order.job, .phase = MemberPhase::kGone}});
  }
  void ObeyAnew(const MeetHead&) {}
  void ObeyAnew(const SignalRanks&) {}

  // ---- orders for one that is -------------------------------------------------------------------

  static bool IsLive(const LocalJob& local) { return local.life <= JobdLife::kAlive; }

  // To the jobd, now or when it is connected.
  void Pass(LocalJob& local, const Order& order) {
    if (local.life == JobdLife::kAlive) {
      Do(TellJobd{local.status.job, order});
    } else {
      local.waiting.push_back(order);
    }
  }

  void Obey(LocalJob& local, const StartAttempt& order) {
    if (local.ending) {
      local.next = order;
      return;
    }
    if (IsLive(local)) return Pass(local, order);
    if (order.attempt <= local.status.attempt) {
      if (local.life == JobdLife::kDead) Say(local);
    } else if (local.life == JobdLife::kDead) {
      Spawn(local, order);
    } else {
      local.next = order;
    }
  }

  void Obey(LocalJob& local, const StopAttempt& order) {
    if (IsLive(local)) return Pass(local, order);
    if (local.next && local.next->attempt <= order.attempt) local.next.reset();
    local.status.attempt = std::max(local.status.attempt, order.attempt);
    if (local.life == JobdLife::kDead) Say(local);
  }

  void Obey(LocalJob& local, const MeetHead& order) {
    if (local.next) {
      local.waiting.push_back(order);
    } else if (IsLive(local)) {
      Pass(local, order);
    }
  }

  void Obey(LocalJob& local, const SignalRanks& order) {
    if (IsLive(local)) Pass(local, order);
  }

  void Obey(LocalJob& local, const EndJob& order) {
    local.ending = true;
    local.next.reset();
    if (IsLive(local)) return Pass(local, order);
    if (local.life == JobdLife::kDead) Sweep(local);
  }

  AgentState& s_;
  std::vector<AgentEffect> effects_;
};

}  // namespace

std::vector<AgentEffect> Step(AgentState& state, const AgentEvent& event) {
  Turn turn(state);
  std::visit([&](const auto& e) { turn.On(e); }, event);
  return std::move(turn).Take();
}

}  // namespace muster
