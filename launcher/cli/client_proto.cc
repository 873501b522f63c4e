#include "launcher/cli/client_proto.h"

#include <algorithm>

namespace muster {
namespace {

void Fill(const Program& program, v1::Program* message) {
  for (const std::string& word : program.argv) message->add_argv(word);
  for (const std::string& entry : program.environment) message->add_environment(entry);
  message->set_workdir(program.workdir);
  message->set_umask(program.umask);
  for (const ResourceLimit& limit : program.limits) {
    v1::ResourceLimit* to = message->add_limits();
    to->set_resource(limit.resource);
    to->set_soft(limit.soft);
    to->set_hard(limit.hard);
  }
}

void Fill(const JobRequest::Restart& restart, v1::RestartPolicy* message) {
  message->set_max(restart.max);
  message->set_on_signal(restart.on_signal);
  message->set_on_node_lost(restart.on_node_lost);
  message->set_on_exit(restart.on_exit);
  for (const std::int32_t code : restart.never) message->add_never(code);
}

void Fill(const LaunchOptions& launch, v1::LaunchOptions* message) {
  for (const std::string& contract : launch.contracts) message->add_contracts(contract);
  message->set_bind(static_cast<v1::Bind>(launch.bind));
  message->set_gpu_view(static_cast<v1::GpuView>(launch.gpu_view));
  message->set_prolog(launch.prolog);
  message->set_epilog(launch.epilog);
  message->set_stdin_rank0(launch.stdin_rank0);
  message->set_pty(launch.pty);
  message->set_rows(launch.rows);
  message->set_columns(launch.columns);
}

void Fill(const Owner& owner, v1::Owner* message) {
  message->set_uid(owner.uid);
  message->set_gid(owner.gid);
  for (const std::uint32_t group : owner.groups) message->add_groups(group);
  message->set_user(owner.user);
  message->set_home(owner.home);
}

MemberView FromProto(const v1::Member& message) {
  MemberView view{.node = message.node(),
                  .first_rank = message.first_rank(),
                  .slots = {message.slots().begin(), message.slots().end()},
                  .phase = static_cast<MemberPhase>(message.phase()),
                  .seating = {.cpus = message.cpus(), .note = message.note()}};
  for (const v1::Seat& seat : message.seats()) {
    view.seating.seats.push_back({.rank = seat.rank(),
                                  .slot = seat.slot(),
                                  .cpus = seat.cpus(),
                                  .numa = seat.numa(),
                                  .gpu = seat.gpu(),
                                  .nic = seat.nic()});
  }
  return view;
}

Cause FromProto(const v1::Cause& message) {
  return {.kind = static_cast<CauseKind>(message.kind()),
          .rank = message.rank(),
          .node = message.node(),
          .slot = message.slot(),
          .code = message.code(),
          .text = message.text(),
          .consequence = message.consequence(),
          .wall_us = message.wall_us(),
          .used_bytes = message.used_bytes(),
          .limit_bytes = message.limit_bytes()};
}

}  // namespace

v1::SubmitRequest ToProto(const JobRequest& request) {
  v1::SubmitRequest message;
  message.set_submit_key(request.submit_key);
  Fill(request.owner, message.mutable_owner());
  v1::JobSpec* spec = message.mutable_spec();
  spec->set_name(request.name);
  spec->set_nodes(request.nodes);
  spec->set_ranks_per_node(request.ranks_per_node);
  Fill(request.program, spec->mutable_program());
  Fill(request.restart, spec->mutable_restart());
  spec->mutable_checkpoint()->set_store(request.checkpoint.store);
  spec->mutable_checkpoint()->set_keep(request.checkpoint.keep);
  spec->mutable_checkpoint()->set_required(request.checkpoint.required);
  spec->mutable_checkpoint()->set_deadline_ms(request.checkpoint.deadline_ms);
  spec->mutable_checkpoint()->set_bytes_per_s(request.checkpoint.bytes_per_s);
  spec->mutable_checkpoint()->set_local(request.checkpoint.local);
  spec->mutable_checkpoint()->set_keep_also(request.checkpoint.keep_also);
  spec->mutable_checkpoint()->set_resume(request.checkpoint.resume);
  for (const std::string& entry : request.checkpoint.metadata) {
    spec->mutable_checkpoint()->add_metadata(entry);
  }
  spec->set_grace_ms(request.grace_ms);
  spec->set_time_limit_s(request.time_limit_s);
  spec->set_attached(request.attached);
  spec->set_min_nodes(request.min_nodes);
  Fill(request.launch, spec->mutable_launch());
  return message;
}

v1::LogsRequest ToProto(const LogsRequest& request) {
  v1::LogsRequest message;
  message.set_job(request.job);
  if (request.attempt) message.set_attempt(*request.attempt);
  message.set_all_attempts(request.all_attempts);
  for (const std::uint32_t rank : request.ranks) message.add_ranks(rank);
  message.set_follow(request.follow);
  for (const NodeName& node : request.nodes) message.add_nodes(node);
  v1::LogSelection* selection = message.mutable_selection();
  selection->set_no_stdout(request.selection.no_stdout);
  selection->set_no_stderr(request.selection.no_stderr);
  selection->set_tail_lines(request.selection.tail_lines);
  selection->set_since_us(request.selection.since_us);
  selection->set_behind_bytes(request.selection.behind_bytes);
  selection->set_progress(request.selection.progress);
  selection->set_recorder(request.selection.recorder);
  return message;
}

LogPiece FromProto(v1::LogChunk&& message) {
  LogPiece piece{.attempt = message.attempt(),
                 .rank = message.rank(),
                 .is_stderr = message.is_stderr(),
                 .offset = message.offset(),
                 .data = std::move(*message.mutable_data()),
                 .node = std::move(*message.mutable_node()),
                 .skip = message.skip(),
                 .skipped_lines = message.skipped_lines()};
  for (int i = 0; i < std::min(message.time_at_size(), message.time_us_size()); ++i) {
    piece.times.push_back({message.offset() + message.time_at(i), message.time_us(i)});
  }
  return piece;
}

JobView FromProto(const v1::Job& message) {
  JobView view{.id = message.id(),
               .name = message.name(),
               .run_id = message.run_id(),
               .uid = message.uid(),
               .user = message.user(),
               .phase = static_cast<JobView::Phase>(message.phase()),
               .end = static_cast<JobView::End>(message.outcome()),
               .exit_code = message.exit_code(),
               .cause = FromProto(message.cause()),
               .restarts = message.restarts(),
               .max_restarts = message.max_restarts(),
               .nodes = message.nodes(),
               .min_nodes = message.min_nodes(),
               .ranks_per_node = message.ranks_per_node(),
               .argv = {message.argv().begin(), message.argv().end()},
               .cancelling = message.cancelling(),
               .running = message.running(),
               .stopping = message.stopping(),
               .why = {message.why().begin(), message.why().end()}};
  if (message.has_attempt()) view.attempt = message.attempt();
  for (const v1::Member& member : message.members()) view.members.push_back(FromProto(member));
  if (message.has_progress()) view.progress = FromProto(message.progress());
  return view;
}

ProgressView FromProto(const v1::Progress& message) {
  ProgressView view{.attempt = message.attempt(),
                    .step = message.step(),
                    .loss = message.loss(),
                    .tokens = message.tokens(),
                    .comm_us = message.comm_us(),
                    .committed_step = message.committed_step(),
                    .phase = message.phase()};
  for (const v1::PhaseTime& time : message.phases()) {
    view.phases.push_back({.name = time.name(), .us = time.us()});
  }
  return view;
}

StoryLine FromProto(const v1::StoryLine& message, JobId job) {
  StoryLine line{.attempt = message.attempt(),
                 .node = message.node(),
                 .wall_us = message.wall_us(),
                 .text = message.text()};
  if (message.has_mark()) {
    line.mark = JobMark{.job = job,
                        .attempt = message.attempt(),
                        .mark = static_cast<Mark>(message.mark().mark()),
                        .at_us = message.mark().at_us()};
  }
  return line;
}

ClusterNode FromProto(const v1::Node& message) {
  return {.name = message.name(),
          .addresses = {message.addresses().begin(), message.addresses().end()},
          .block = message.block(),
          .leaf = message.leaf(),
          .spine = message.spine(),
          .slots = message.slots(),
          .used = message.used(),
          .lost = message.lost(),
          .drained = message.drained(),
          .boot_id = message.boot_id(),
          .jobs = {message.jobs().begin(), message.jobs().end()}};
}

ClusterInfo FromProto(const v1::InfoReply& message) {
  return {.cluster = message.cluster(),
          .version = message.version(),
          .life = message.life(),
          .nodes = message.nodes(),
          .nodes_up = message.nodes_up(),
          .jobs_pending = message.jobs_pending(),
          .jobs_running = message.jobs_running(),
          .identity = message.identity()};
}

}  // namespace muster
