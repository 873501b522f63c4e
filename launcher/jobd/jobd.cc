#include "launcher/jobd/jobd.h"

#include <algorithm>
#include <utility>

#include "launcher/jobd/vouch.h"
#include "runtime/base/check.h"

namespace muster {
namespace {

using std::chrono::milliseconds;

// One call of Step: the state, the moment, and what is to be done.
class Turn {
 public:
  Turn(JobdState& state, TimePoint now)
      : s_(state), status_(state.status), now_(now), before_(state.status) {}

  // The status is told before what may take long or must find it on the disk.
  std::vector<JobdEffect> Take() && {
    if (status_ == before_) return std::move(effects_);
    effects_.emplace(std::find_if(effects_.begin(), effects_.end(), ComesLate), TellAgent{});
    return std::move(effects_);
  }

  // ---- orders -----------------------------------------------------------------------------------

  void On(const OrderCame& event) {
    std::visit(
        [&](const auto& order) {
          if (order.job == status_.job) Obey(order);
        },
        event.order);
  }

  void Obey(const StartAttempt& order) {
    if (s_.ending || order.attempt < s_.refused || Begun(order.attempt)) return;
    if (s_.next && order.attempt <= s_.next->attempt) return;
    if (!Active(status_.phase)) return Begin(order);
    s_.next = order;
    Leave({.kind = CauseKind::kCancelled, .text = "a newer attempt is to begin"});
  }

  void Obey(const MeetHead& order) {
    if (s_.next && s_.next->attempt == order.attempt) s_.next_meet = order;
    if (!Waits(order.attempt) || IsHead() || s_.head_connected) return;
    if (s_.head_port == order.port) return;
    s_.head_port = order.port;
    Do(ConnectToHead{order.port});
  }

  void Obey(const StopAttempt& order) {
    if (!Begun(order.attempt)) return Refuse(order.attempt);
    if (order.attempt != status_.attempt || !Vouches()) return;
    const TimePoint kill_at = now_ + milliseconds(order.grace_ms);
    if (status_.ranks_alive > 0) status_.asked_to_stop = true;
    if (order.grace_ms == 0 || status_.phase < MemberPhase::kRunning) {
      return Leave({.kind = CauseKind::kCancelled, .text = "stopped by the coordinator"});
    }
    if (s_.suspect && status_.ranks_alive == 0) return Leave(Cause(*s_.suspect));
    s_.kill_at = std::min(kill_at, s_.kill_at.value_or(kill_at));
    if (status_.phase != MemberPhase::kRunning) return;
    status_.phase = MemberPhase::kStopping;
    s_.asked = true;
    s_.suspect.reset();
    Do(AskRanks{order.grace_ms});
  }

  void Obey(const SignalRanks& order) {
    if (order.attempt != status_.attempt || !Vouches() || status_.ranks_alive == 0) return;
    Do(SignalAll{order.signal, order.rank});
  }

  void Obey(const EndJob&) {
    if (s_.ending) return;
    s_.ending = true;
    s_.next.reset();
    if (!Active(status_.phase)) return Do(SettleMover{});
    Leave({.kind = CauseKind::kCancelled, .text = "the job is over"});
  }

  // ---- the other daemons ------------------------------------------------------------------------

  void On(const HeadConnected&) {
    if (!Waits(status_.attempt) || IsHead() || s_.head_port == 0 || s_.head_connected) return;
    s_.head_connected = true;
    s_.proven = Nanoseconds(now_);
    BecomeReady();
  }

  void On(const HeadUnreachable& event) {
    if (!Waits(status_.attempt) || IsHead() || s_.head_connected) return;
    LosePeer(0, event.why);
  }

  void On(const FollowerConnected& event) {
    const auto found = s_.followers.find(event.host_index);
    if (event.attempt != status_.attempt || found == s_.followers.end()) return;
    if (!Vouches()) {
      if (status_.cause.kind != CauseKind::kNone) {
        Send(event.host_index, peer::Over{status_.attempt, status_.cause});
      }
      return;
    }
    Follower& follower = found->second;
    if (follower.connected) return LosePeer(event.host_index, "a second daemon came in its place");
    follower = {.connected = true, .vouched = Nanoseconds(now_)};
    SendBeat(event.host_index);
  }

  void On(const PeerGone& event) {
    if (event.attempt != status_.attempt || !Active(status_.phase)) return;
    if (IsHead()) {
      const auto found = s_.followers.find(event.host_index);
      if (found == s_.followers.end() || !found->second.connected) return;
      found->second.connected = false;
    } else {
      if (!s_.head_connected) return;
      s_.head_connected = false;
    }
    LosePeer(event.host_index, "its connection closed");
  }

  void On(const PeerSaid& event) {
    std::visit([&](const auto& message) { Hear(event.host_index, message); }, event.message);
  }

  void Hear(std::uint32_t from, const peer::Ready& message) {
    Follower* follower = Vouched(from, message);
    if (follower == nullptr) return;
    follower->ready = true;
    Go();
  }

  void Hear(std::uint32_t from, const peer::BeatBack& message) {
    if (Vouched(from, message) != nullptr) Go();  // It may have waited for just this.
  }

  void Hear(std::uint32_t, const peer::Beat& message) {
    if (!FromHead(message)) return;
    s_.head_stamp = std::max(s_.head_stamp, message.stamp);
    if (message.echo != 0) s_.proven = std::max(s_.proven, message.echo - message.vouch_age);
    s_.head_proven = std::max(s_.head_proven, message.echo);
    s_.silent = message.silent;
    Send(0, peer::BeatBack{status_.attempt, Nanoseconds(now_), s_.head_stamp});
    BecomeReady();
  }

  void Hear(std::uint32_t, const peer::Go& message) {
    if (!FromHead(message) || status_.phase != MemberPhase::kReady) return;
    // Only this proof covers every member: earlier beats knew of those that had come by then.
    s_.proven = message.echo - message.vouch_age;
    if (Expired(s_.proven)) return LosePeer(0, "its word to go came too late");
    Fork();
  }

  void Hear(std::uint32_t from, const peer::Failed& message) {
    if (!IsHead() || message.attempt != status_.attempt || !s_.followers.contains(from)) return;
    Cause cause = message.cause;
    if (cause.kind == CauseKind::kNone) cause.kind = CauseKind::kPeerLost;
    Leave(std::move(cause));
  }

  void Hear(std::uint32_t from, const peer::Finished& message) {
    if (!IsHead() || message.attempt != status_.attempt || !s_.followers.contains(from)) return;
    s_.followers[from].finished = true;
    status_.asked_to_stop = status_.asked_to_stop || message.asked_to_stop;
    CallItOver();
  }

  void Hear(std::uint32_t, const peer::Over& message) {
    if (!FromHead(message)) return;
    if (message.cause.kind == CauseKind::kNone) {
      if (status_.phase != MemberPhase::kFinished) return;
      status_.asked_to_stop = status_.asked_to_stop || message.asked_to_stop;
      return Left();
    }
    s_.head_connected = false;  // It knows; nothing is to be said back.
    Leave(message.cause);
  }

  template <typename M>
  void Hear(std::uint32_t, const M&) {}  // The rim's: Hello and the relays.

  // ---- here -------------------------------------------------------------------------------------

  void On(const LocalPrepared& event) {
    if (!Waits(status_.attempt)) return;
    status_.seating = event.seating;
    s_.prepared = true;
    BecomeReady();
  }

  void On(const RankExited& event) {
    const auto rank = s_.ranks.find(event.local_rank);
    if (rank == s_.ranks.end() || !rank->second) return;
    rank->second = false;
    --status_.ranks_alive;
    if (event.cause.kind != CauseKind::kNone && !event.by_us && !s_.asked) {
      Cause cause = PlacedOn(Here(), event);
      if (Vouches()) return Blame(std::move(cause));
      LearnBetter(status_, cause);
    }
    if (status_.ranks_alive > 0) return;
    if (!Vouches()) return Left();
    if (s_.suspect) return Doubt();
    status_.phase = MemberPhase::kFinished;
    if (!IsHead()) return Send(0, peer::Finished{status_.attempt, status_.asked_to_stop});
    CallItOver();
  }

  void On(const LocalFailed& event) { Blame(event.cause); }

  void On(const MoverSettled&) {
    if (s_.ending && !Active(status_.phase)) Do(EndProcess{});
  }

  void On(const TimePassed&) {
    if (!Vouches()) return;
    if (s_.kill_at && now_ >= *s_.kill_at) {
      return Leave({.kind = CauseKind::kCancelled, .text = "the grace time is over"});
    }
    if (s_.suspect && now_ >= s_.suspect_until) return Leave(Cause(*s_.suspect));
    if (!IsHead()) {
      if (!s_.head_connected || !Expired(s_.proven)) return;
      return LosePeer(Missed(s_), "silent for too long");
    }
    for (const auto& [index, follower] : s_.followers) {
      if (!follower.connected || !Expired(follower.vouched)) continue;
      return LosePeer(index, "silent for too long");
    }
    if (now_ < s_.next_beat) return;
    for (const auto& [index, follower] : s_.followers) {
      if (follower.connected) SendBeat(index);
    }
    s_.next_beat = now_ + milliseconds(s_.order->fence_ms) / kBeatsPerFence;
  }

 private:
  const Host& Here() const { return s_.order->hosts[s_.order->host_index]; }
  bool IsHead() const { return s_.order && s_.order->host_index == 0; }
  bool Begun(AttemptNumber attempt) const {
    return status_.phase != MemberPhase::kNone && attempt <= status_.attempt;
  }
  bool Waits(AttemptNumber attempt) const {
    return status_.phase == MemberPhase::kStarting && attempt == status_.attempt;
  }
  bool Vouches() const { return muster::Vouches(s_); }
  bool Expired(std::int64_t proven) const { return muster::Expired(s_, proven, now_); }
  template <typename M>
  bool FromHead(const M& message) const {
    return Vouches() && !IsHead() && message.attempt == status_.attempt && s_.head_connected;
  }

  void Do(auto effect) { effects_.emplace_back(std::move(effect)); }
  void Send(std::uint32_t to, peer::Message message) { Do(SendPeer{to, std::move(message)}); }

  template <typename M>
  Follower* Vouched(std::uint32_t from, const M& message) {
    if (!Vouches() || message.attempt != status_.attempt) return nullptr;
    return TakeVouch(s_, from, message.stamp, message.echo);
  }

  void SendBeat(std::uint32_t to) {
    Send(to, peer::Beat{status_.attempt, Nanoseconds(now_), s_.followers[to].last_stamp,
                        VouchAge(s_, to, now_), MostSilent(s_, to)});
  }

  void Begin(const StartAttempt& order) {
    CHECK(status_.ranks_alive == 0 && order.host_index < order.hosts.size());
    const JobdState old = std::exchange(s_, Fresh(s_, order, now_));
    Do(PrepareRanks{});
    if (old.next_meet) Obey(*old.next_meet);
  }

  void BecomeReady() {
    if (!Waits(status_.attempt) || !s_.prepared) return;
    if (!IsHead()) {
      if (!s_.head_connected || s_.head_stamp == 0) return;
      Send(0, peer::Ready{status_.attempt, Nanoseconds(now_), s_.head_stamp});
    }
    status_.phase = MemberPhase::kReady;
    if (IsHead()) Go();
  }

  void Go() {
    if (status_.phase != MemberPhase::kReady) return;
    for (const auto& [index, follower] : s_.followers) {
      if (!follower.ready || Expired(follower.vouched)) return;
    }
    for (const auto& [index, follower] : s_.followers) {
      Send(index, peer::Go{status_.attempt, Nanoseconds(now_), follower.last_stamp,
                           VouchAge(s_, index, now_)});
    }
    Fork();
  }

  void Fork() {
    CHECK(status_.ranks_alive == 0);
    status_.phase = MemberPhase::kRunning;
    status_.ranks_alive = static_cast<std::uint32_t>(Here().slots.size());
    for (std::uint32_t i = 0; i < status_.ranks_alive; ++i) s_.ranks[i] = true;
    Do(ForkRanks{});
  }

  void CallItOver() {
    if (!Vouches() || status_.phase != MemberPhase::kFinished) return;
    for (const auto& [index, follower] : s_.followers) {
      if (!follower.finished) return;
    }
    for (const auto& [index, follower] : s_.followers) {
      Send(index, peer::Over{status_.attempt, {}, status_.asked_to_stop});
    }
    Left();
  }

  void LosePeer(std::uint32_t index, const std::string& why) {
    const NodeName& node = s_.order->hosts[index].node;
    Leave({.kind = CauseKind::kPeerLost,
           .node = node,
           .text = "the job daemon on " + node + " was lost: " + why});
  }

  // A failure here.  One that blames a peer waits for a better one, here or elsewhere.
  void Blame(Cause cause) {
    if (!Vouches()) return;
    if (!cause.consequence || s_.asked) return Leave(std::move(cause));
    if (!s_.suspect) {
      s_.suspect = std::move(cause);
      s_.suspect_until = now_ + kSuspectFor;
    }
    Doubt();
  }

  void Doubt() {  // With nobody left who could be the first, it is.
    if (status_.ranks_alive == 0 && s_.order->hosts.size() == 1) Leave(Cause(*s_.suspect));
  }

  // The first failure: everyone is told, the ranks are killed, and it never vouches again.
  void Leave(Cause cause) {
    if (!Vouches()) return;
    CHECK(cause.kind != CauseKind::kNone);
    if (cause.node.empty()) cause.node = Here().node;
    status_.cause = std::move(cause);
    s_.kill_at.reset();
    if (s_.head_connected) Send(0, peer::Failed{status_.attempt, status_.cause});
    for (const auto& [index, follower] : s_.followers) {
      if (follower.connected) Send(index, peer::Over{status_.attempt, status_.cause});
    }
    if (status_.ranks_alive == 0) return Left();
    status_.phase = MemberPhase::kStopping;
    Do(KillRanks{});
  }

  void Left() {
    status_.phase = MemberPhase::kLeft;
    s_.kill_at.reset();
    Do(CleanUp{status_.attempt});
    if (s_.ending) return Do(SettleMover{});
    if (s_.refused > status_.attempt + 1) return Refuse(s_.refused - 1);
    if (s_.next) Begin(StartAttempt(*s_.next));
  }

  // An attempt that is stopped before it began here: it never will.
  void Refuse(AttemptNumber attempt) {
    s_.refused = std::max(s_.refused, attempt + 1);
    if (s_.next && s_.next->attempt < s_.refused) {
      s_.next.reset();
      s_.next_meet.reset();
    }
    if (Active(status_.phase)) {
      return Leave({.kind = CauseKind::kCancelled, .text = "a newer attempt was stopped"});
    }
    status_.attempt = s_.refused - 1;
    status_.phase = MemberPhase::kLeft;
    status_.asked_to_stop = false;
    status_.cause = {.kind = CauseKind::kCancelled, .text = "stopped before it began"};
    if (s_.next) Begin(StartAttempt(*s_.next));
  }

  JobdState& s_;
  JobdStatus& status_;
  TimePoint now_;
  JobdStatus before_;
  std::vector<JobdEffect> effects_;
};

}  // namespace

std::vector<JobdEffect> Step(JobdState& state, const JobdEvent& event, TimePoint now) {
  NoteStall(state, now);
  Turn turn(state, now);
  std::visit([&](const auto& e) { turn.On(e); }, event);
  return std::move(turn).Take();
}

}  // namespace muster
