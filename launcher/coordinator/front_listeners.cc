#include "launcher/coordinator/attempt.h"
#include "launcher/coordinator/front.h"

namespace muster {

void Front::Watch(JobId job, ListenerId id, std::uint64_t life, std::uint64_t after,
                  std::shared_ptr<Watcher> watcher) {
  auto picture = Picture(job);
  if (!picture.ok() || !failure_.ok()) {
    watcher->End(failure_.ok() ? picture.status() : failure_);
    return;
  }
  const bool ended = picture->job.phase == JobPhase::kEnded;
  if (!ended) news_.Subscribe(job, id, watcher);
  Leave([watcher = std::move(watcher), ended, stories = news_.Since(job, state_.lives, life, after),
         shown = std::make_shared<const JobPicture>(*std::move(picture))](const Status& durable) {
    if (durable.ok()) {
      for (const Story& story : stories) watcher->Show(story);
      watcher->Show(shown);
    }
    if (ended || !durable.ok()) watcher->End(durable);
  });
}

void Front::Hold(JobId job, ListenerId id, std::shared_ptr<Holder> holder) {
  const auto it = state_.jobs.find(job);
  if (!failure_.ok() || it == state_.jobs.end()) {
    holder->End(failure_.ok() ? NoSuchJob(job) : failure_);
  } else if (it->second.phase == JobPhase::kEnded) {
    holder->Held();
    holder->End({});
  } else if (!it->second.spec.attached) {
    holder->End(Status(Code::kInvalid, "job " + std::to_string(job) +
                                           " was not submitted as attached: nobody has to hold "
                                           "it"));
  } else {
    holds_.Hold(job, id, std::move(holder));
  }
}

void Front::ReadLogs(ListenerId id, LogsAsked asked, std::shared_ptr<LogReader> reader) {
  if (!failure_.ok() || !state_.jobs.contains(asked.job)) {
    reader->End(failure_.ok() ? NoSuchJob(asked.job) : failure_);
    return;
  }
  Carry(logs_.Open(state_, id, std::move(asked), std::move(reader)));
}

void Front::Exec(ExecWant want, std::shared_ptr<ExecCaller> caller) {
  const auto it = state_.jobs.find(want.job);
  const bool runs = it != state_.jobs.end() && it->second.phase == JobPhase::kRunning &&
                    it->second.attempt->running;
  const Member* member = runs ? MemberOf(*it->second.attempt, want.rank) : nullptr;
  const std::string job = "job " + std::to_string(want.job);
  if (!failure_.ok()) return caller->End(failure_);
  if (it == state_.jobs.end()) return caller->End(NoSuchJob(want.job));
  if (!runs) return caller->End(Status(Code::kInvalid, job + " has no running ranks"));
  if (member == nullptr) {
    return caller->End(
        Status(Code::kInvalid, job + " has no rank " + std::to_string(want.rank) +
                                   "; its ranks are 0 to " +
                                   std::to_string(WorldSize(*it->second.attempt) - 1)));
  }
  const auto agent = agents_.find(member->host.node);
  if (agent == agents_.end() || !agent->second.stream) {
    return caller->End(Status(
        Code::kAborted, "node " + member->host.node + ", where the rank runs, is not connected"));
  }
  want.attempt = it->second.attempt->number;
  caller->Expect(want.id, member->host.node);
  execs_.Open(want.id, member->host.node, std::move(caller));
  agent->second.stream->WantExec(want);
}

void Front::OfferInput(std::uint64_t id, JobId job, std::shared_ptr<InputGiver> giver) {
  if (!failure_.ok()) return giver->End(failure_);
  inputs_.Offer(state_, id, job, std::move(giver));
  TendInputs();
}

void Front::TendInputs() {
  if (inputs_.empty()) return;
  const auto stream_of = [this](const NodeName& node) {
    const auto it = agents_.find(node);
    return it == agents_.end() ? nullptr : it->second.stream;
  };
  for (const AskForInput& ask :
       inputs_.Tend(state_, [&](const NodeName& node) { return stream_of(node) != nullptr; })) {
    Leave([stream = stream_of(ask.node), want = ask.want](const Status& durable) {
      if (durable.ok()) stream->WantInput(want);
    });
  }
}

void Front::Carry(const std::vector<LogAction>& actions) {
  for (const LogAction& action : actions) {
    Leave([this, action](const Status& durable) {
      if (!durable.ok()) return;
      const auto* ask = std::get_if<AskNode>(&action);
      const auto* enough = std::get_if<TellEnough>(&action);
      const auto it = agents_.find(ask != nullptr ? ask->node : enough->node);
      if (it == agents_.end() || !it->second.stream) return;
      if (ask != nullptr) it->second.stream->WantLogs(ask->want);
      if (enough != nullptr) it->second.stream->EnoughLogs(enough->want);
    });
  }
}

}  // namespace muster
