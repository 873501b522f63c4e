// One call of Decide(): the state, the moment, and what has been decided so far.
//
// events (decide.cc) say what happened, reports (report.cc) compare what a node says with what is
// wanted, and Settle() (settle.cc) draws the conclusions.  The loop's thread.
#pragma once

#include "launcher/coordinator/attempt.h"
#include "launcher/coordinator/decide.h"

namespace muster {

class Turn {
 public:
  Turn(State& state, TimePoint now, const Limits& limits)
      : state_(state), now_(now), limits_(limits) {}

  void On(const CoordinatorBegan& event);
  void On(const JobSubmitted& event);
  void On(const JobCancelled& event);
  void On(const JobSignalled& event);
  void On(const AgentRegistered& event);
  void On(const NodeSilent& event);
  void On(const NodeHeard& event);
  void On(const JobdReported& event);
  void On(const NodeDrained& event);
  void On(const Ticked&) {}
  void On(const Stalled&);

  void Settle();

  Decision Take() && { return std::move(decision_); }

 private:
  // The fact is true from here on.
  template <typename F>
  void Note(F fact) {
    Apply(state_, Fact(fact));
    decision_.facts.emplace_back(std::move(fact));
  }
  void Order(const NodeName& node, muster::Order order);
  void Answer(Code code, std::string message) {
    decision_.status = Status(code, std::move(message));
  }
  Job* Running(JobId job);

  // `registering`: the report is part of a registration, so no order is on its way to the node.
  void Hear(const NodeName& node, const JobdStatus& status, bool registering);
  void HearMember(Job& job, const Member& member, const JobdStatus& status, bool registering);
  void HearStranger(const NodeName& node, const JobdStatus& status, bool registering);
  void Record(Job& job, const Member& member, const JobdStatus& status);
  void Blame(Job& job, const Member& was, const JobdStatus& status);
  void MissMember(Job& job, const Member& member);
  void MissAll(const NodeName& node, const std::vector<JobdStatus>& listed);
  void Reboot(const NodeName& node, const std::string& boot_id);
  void FinishAll(Job& job);

  void Change(const Job& job, const Member& member, MemberPhase phase);
  void Release(const Job& job, const Member& member, const std::string& why);
  void SendWanted(const Job& job, const Member& member);
  void SendMeetHead(const Job& job, const Member& member);
  void SendStop(const Job& job);
  void Stop(Job& job, Cause cause);

  void SettleAttempt(Job& job);
  void MindLostNodes(Job& job);
  void MindTheFence(Job& job);
  void EndAttempt(Job& job);
  void EndJobNow(Job& job, const Verdict& verdict);
  void TryToPlace(Job& job);

  State& state_;
  TimePoint now_;
  const Limits& limits_;
  Decision decision_;
};

}  // namespace muster
