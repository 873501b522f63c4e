#include "launcher/coordinator/messages_proto.h"

#include <algorithm>

#include "runtime/base/text.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr std::size_t kKeyMost = 128;
constexpr std::uint32_t kNodesMost = 65536;

// How many bytes the character at the front of `text` has; 0: it is not UTF-8.
std::size_t CharacterSize(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what lies above U+10FFFF.
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;
  if (lead == 0xED && byte(1) > 0x9F) return 0;
  if (lead == 0xF0 && byte(1) < 0x90) return 0;
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;
  return size;
}

// What ranks wrote may be anything; a string of protobuf is UTF-8 or refused by the receiver.
std::string Utf8(std::string_view text) {
  std::string clean;
  while (!text.empty()) {
    const std::size_t size = CharacterSize(text);
    clean += size == 0 ? std::string_view("?") : text.substr(0, size);
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return clean;
}

void Fill(const Cause& cause, v1::Cause* message) {
  message->set_kind(static_cast<v1::CauseKind>(cause.kind));
  message->set_rank(cause.rank);
  message->set_node(cause.node);
  message->set_slot(cause.slot);
  message->set_code(cause.code);
  message->set_text(Utf8(cause.text));
  message->set_consequence(cause.consequence);
  message->set_wall_us(cause.wall_us);
  message->set_used_bytes(cause.used_bytes);
  message->set_limit_bytes(cause.limit_bytes);
}

void Fill(const Seating& seating, v1::Member* message) {
  message->set_cpus(seating.cpus);
  message->set_note(seating.note);
  for (const Seat& seat : seating.seats) {
    v1::Seat* to = message->add_seats();
    to->set_rank(seat.rank);
    to->set_slot(seat.slot);
    to->set_cpus(seat.cpus);
    to->set_numa(seat.numa);
    to->set_gpu(seat.gpu);
    to->set_nic(seat.nic);
  }
}

void Fill(const Attempt& attempt, v1::Job* message) {
  message->set_has_attempt(true);
  message->set_attempt(attempt.number);
  message->set_running(attempt.running);
  message->set_stopping(attempt.stopping);
  for (const Member& member : attempt.members) {
    v1::Member* to = message->add_members();
    to->set_node(member.host.node);
    to->set_first_rank(member.host.first_rank);
    for (const std::uint32_t slot : member.host.slots) to->add_slots(slot);
    to->set_phase(static_cast<v1::MemberPhase>(member.phase));
  }
}

Program FromProto(const v1::Program& message) {
  Program program{.argv = {message.argv().begin(), message.argv().end()},
                  .environment = {message.environment().begin(), message.environment().end()},
                  .workdir = message.workdir(),
                  .umask = message.umask()};
  for (const v1::ResourceLimit& limit : message.limits()) {
    program.limits.push_back(
        {.resource = limit.resource(), .soft = limit.soft(), .hard = limit.hard()});
  }
  return program;
}

LaunchOptions FromProto(const v1::LaunchOptions& message) {
  return {.contracts = {message.contracts().begin(), message.contracts().end()},
          .bind = static_cast<Bind>(message.bind()),
          .gpu_view = static_cast<GpuView>(message.gpu_view()),
          .prolog = message.prolog(),
          .epilog = message.epilog(),
          .stdin_rank0 = message.stdin_rank0(),
          .pty = message.pty(),
          .rows = message.rows(),
          .columns = message.columns()};
}

Status CheckLaunch(const v1::LaunchOptions& launch) {
  for (const std::string& contract : launch.contracts()) {
    if (std::find(kContracts.begin(), kContracts.end(), contract) == kContracts.end()) {
      return Status(Code::kInvalid, "no environment contract is called '" + contract +
                                        "'; known are " + Join(kContracts, ", "));
    }
  }
  // An enum of proto3 may hold any number.
  if (!v1::Bind_IsValid(launch.bind())) return Status(Code::kInvalid, "no such way to bind ranks");
  if (!v1::GpuView_IsValid(launch.gpu_view()))
    return Status(Code::kInvalid, "no such view of GPUs");
  return {};
}

// The slots that attempts under way have on a node, and whose they are.
struct Use {
  std::uint32_t slots = 0;
  std::vector<JobId> jobs;
};

std::map<NodeName, Use> UseOf(const State& state) {
  std::map<NodeName, Use> use;
  for (const auto& [id, job] : state.jobs) {
    if (job.phase != JobPhase::kRunning || !job.attempt) continue;
    for (const Member& member : job.attempt->members) {
      Use& there = use[member.host.node];
      there.slots += static_cast<std::uint32_t>(member.host.slots.size());
      there.jobs.push_back(id);
    }
  }
  return use;
}

Status Missing(const std::string& what) {
  return Status(Code::kInvalid, "the submission has " + what);
}

}  // namespace

JobSpec FromProto(const v1::JobSpec& message) {
  const v1::RestartPolicy& restart = message.restart();
  return {.name = message.name(),
          .nodes = message.nodes(),
          .ranks_per_node = message.ranks_per_node(),
          .program = FromProto(message.program()),
          .restart = {.max = restart.max(),
                      .on_signal = restart.on_signal(),
                      .on_node_lost = restart.on_node_lost(),
                      .on_exit = restart.on_exit(),
                      .never = {restart.never().begin(), restart.never().end()}},
          .checkpoint = {.store = message.checkpoint().store(),
                         .keep = message.checkpoint().keep(),
                         .required = message.checkpoint().required(),
                         .deadline_ms = message.checkpoint().has_deadline_ms()
                                            ? message.checkpoint().deadline_ms()
                                            : CheckpointPolicy().deadline_ms,
                         .bytes_per_s = message.checkpoint().bytes_per_s(),
                         .local = message.checkpoint().local(),
                         .keep_also = message.checkpoint().keep_also(),
                         .metadata = {message.checkpoint().metadata().begin(),
                                      message.checkpoint().metadata().end()},
                         .resume = message.checkpoint().resume()},
          .grace_ms = message.grace_ms(),
          .time_limit_s = message.time_limit_s(),
          .attached = message.attached(),
          .min_nodes = message.min_nodes(),
          .launch = FromProto(message.launch())};
}

Owner FromProto(const v1::Owner& message) {
  return {.uid = message.uid(),
          .gid = message.gid(),
          .groups = {message.groups().begin(), message.groups().end()},
          .user = message.user(),
          .home = message.home()};
}

LogsAsked FromProto(const v1::LogsRequest& message) {
  LogsAsked asked{.job = message.job(),
                  .all_attempts = message.all_attempts(),
                  .ranks = {message.ranks().begin(), message.ranks().end()},
                  .nodes = {message.nodes().begin(), message.nodes().end()},
                  .follow = message.follow(),
                  .selection = {.no_stdout = message.selection().no_stdout(),
                                .no_stderr = message.selection().no_stderr(),
                                .tail_lines = message.selection().tail_lines(),
                                .since_us = message.selection().since_us(),
                                .behind_bytes = message.selection().behind_bytes(),
                                .progress = message.selection().progress(),
                                .recorder = message.selection().recorder()}};
  if (message.has_attempt()) asked.attempt = message.attempt();
  return asked;
}

Status CheckSubmission(const v1::SubmitRequest& request) {
  const v1::JobSpec& spec = request.spec();
  if (request.submit_key().empty()) return Missing("no submit_key");
  if (request.submit_key().size() > kKeyMost) return Missing("a submit_key over 128 bytes");
  if (!request.has_owner()) return Missing("no owner");
  if (spec.program().argv().empty() || spec.program().argv(0).empty()) {
    return Missing("no program to run (spec.program.argv)");
  }
  if (spec.nodes() == 0 || spec.nodes() > kNodesMost) {
    return Missing("spec.nodes of " + std::to_string(spec.nodes()) + "; allowed is 1 to 65536");
  }
  if (spec.program().umask() > 0777) return Missing("a umask above 0777");
  const std::string& resume = spec.checkpoint().resume();
  if (!resume.empty() && (!IsRunId(resume) || spec.checkpoint().store().empty())) {
    return Missing("a run to resume without a store, or one that is not 32 hexadecimal digits: '" +
                   resume.substr(0, kKeyMost) + "'");
  }
  return CheckLaunch(spec.launch());
}

v1::Job ToProto(const JobPicture& picture, bool whole) {
  const Job& job = picture.job;
  v1::Job message;
  message.set_id(job.id);
  message.set_name(job.spec.name);
  message.set_run_id(job.run_id);
  message.set_uid(job.owner.uid);
  message.set_user(job.owner.user);
  message.set_phase(static_cast<v1::JobPhase>(job.phase));
  message.set_outcome(static_cast<v1::Outcome>(job.outcome));
  message.set_exit_code(job.exit_code);
  Fill(job.cause, message.mutable_cause());
  message.set_restarts(job.restarts);
  message.set_max_restarts(job.spec.restart.max);
  message.set_nodes(job.spec.nodes);
  message.set_min_nodes(job.spec.min_nodes);
  message.set_ranks_per_node(job.spec.ranks_per_node);
  for (const std::string& word : job.spec.program.argv) message.add_argv(word);
  message.set_cancelling(job.cancel.has_value());
  if (job.attempt) Fill(*job.attempt, &message);
  if (whole) {
    for (v1::Member& member : *message.mutable_members()) {
      const auto seating = picture.seating.find(member.node());
      if (seating != picture.seating.end()) Fill(seating->second, &member);
    }
    for (const std::string& why : picture.why) message.add_why(Utf8(why));
  }
  if (picture.progress) *message.mutable_progress() = ToProto(*picture.progress);
  return message;
}

v1::Progress ToProto(const JobProgress& progress) {
  v1::Progress message;
  message.set_attempt(progress.attempt);
  message.set_step(progress.step);
  message.set_loss(progress.loss);
  message.set_tokens(progress.tokens);
  message.set_comm_us(progress.comm_us);
  message.set_committed_step(progress.committed_step);
  message.set_phase(Utf8(progress.phase));
  for (const PhaseTime& time : progress.phases) {
    v1::PhaseTime* to = message.add_phases();
    to->set_name(Utf8(time.name));
    to->set_us(time.us);
  }
  return message;
}

v1::StoryLine ToProto(const Story& story) {
  v1::StoryLine message;
  message.set_life(story.life);
  message.set_number(story.number);
  message.set_attempt(story.attempt);
  message.set_node(story.node);
  message.set_wall_us(
      std::chrono::duration_cast<std::chrono::microseconds>(story.at.time_since_epoch()).count());
  if (story.mark) {
    message.mutable_mark()->set_mark(static_cast<v1::Mark>(story.mark->mark));
    message.mutable_mark()->set_at_us(story.mark->at_us);
  } else {
    message.set_text(Utf8(story.text));
  }
  return message;
}

v1::LogWanted ToProto(const LogWant& want) {
  v1::LogWanted message;
  message.set_want(want.id);
  message.set_job(want.job);
  message.set_first_attempt(want.first_attempt);
  message.set_last_attempt(want.last_attempt);
  for (const std::uint32_t rank : want.ranks) message.add_ranks(rank);
  message.set_first_rank(want.first_rank);
  message.set_last_rank(want.last_rank);
  message.set_follow(want.follow);
  v1::LogSelection* selection = message.mutable_selection();
  selection->set_no_stdout(want.selection.no_stdout);
  selection->set_no_stderr(want.selection.no_stderr);
  selection->set_tail_lines(want.selection.tail_lines);
  selection->set_since_us(want.selection.since_us);
  selection->set_behind_bytes(want.selection.behind_bytes);
  selection->set_progress(want.selection.progress);
  selection->set_recorder(want.selection.recorder);
  for (const LogOffset& from : want.from) {
    v1::LogFrom* to = message.add_from();
    to->set_attempt(from.attempt);
    to->set_rank(from.rank);
    to->set_is_stderr(from.is_stderr);
    to->set_offset(from.offset);
  }
  return message;
}

v1::ListNodesReply NodesOf(const State& state) {
  const std::map<NodeName, Use> use = UseOf(state);
  v1::ListNodesReply reply;
  for (const auto& [name, node] : state.nodes) {
    v1::Node* to = reply.add_nodes();
    to->set_name(name);
    for (const std::string& address : node.addresses) to->add_addresses(address);
    to->set_slots(node.slots);
    to->set_block(node.block);
    to->set_leaf(node.leaf);
    to->set_spine(node.spine);
    to->set_lost(node.lost);
    to->set_drained(node.drained);
    to->set_boot_id(node.boot_id);
    if (const auto there = use.find(name); there != use.end()) {
      to->set_used(there->second.slots);
      for (const JobId job : there->second.jobs) to->add_jobs(job);
    }
  }
  return reply;
}

v1::InfoReply InfoOf(const State& state) {
  v1::InfoReply reply;
  const auto jobs = [&](JobPhase phase) {
    return static_cast<std::uint32_t>(
        std::count_if(state.jobs.begin(), state.jobs.end(),
                      [&](const auto& job) { return job.second.phase == phase; }));
  };
  reply.set_cluster(state.cluster);
  reply.set_life(state.lives);
  reply.set_nodes(static_cast<std::uint32_t>(state.nodes.size()));
  reply.set_nodes_up(static_cast<std::uint32_t>(std::count_if(
      state.nodes.begin(), state.nodes.end(), [](const auto& n) { return !n.second.lost; })));
  reply.set_jobs_pending(jobs(JobPhase::kPending));
  reply.set_jobs_running(jobs(JobPhase::kRunning));
  return reply;
}

Result<Registering> FromProto(const v1::Register& message) {
  Registering registering{
      .node = {.name = message.node(),
               .addresses = {message.addresses().begin(), message.addresses().end()},
               .block = message.block(),
               .leaf = message.leaf(),
               .spine = message.spine(),
               .slots = message.slots(),
               .incarnation = message.incarnation(),
               .boot_id = message.boot_id()}};
  if (message.incarnation() == 0) {
    return Status(Code::kInvalid, "a registration without an incarnation");
  }
  for (const std::string& bytes : message.statuses()) {
    auto status = DecodeWire<JobdStatus>(bytes);
    if (!status.ok()) return std::move(status).status().While("reading a status");
    registering.jobds.push_back(*std::move(status));
  }
  return registering;
}

Result<std::optional<Report>> ReportFrom(const std::string& bytes) {
  return DecodeVariant<Report>(bytes);
}

}  // namespace muster
