#include "launcher/coordinator/facts_proto.h"

#include <utility>

#include "launcher/coordinator/facts_archive_proto.h"
#include "launcher/coordinator/facts_enums_proto.h"

namespace muster {

namespace pb = v1::journal;

// ---- messages: one Map() each, for both directions ----------------------------------------------

// A Map() begins by naming every member of its struct, so a new member that nobody maps does not
// compile; tests/unit/coordinator sees each of them come back.
//   VALUE     numbers, bools, enums
//   TIME      a TimePoint x is x_ns on disk
//   PART      text, structs, and lists of them
//   OPTIONAL  a struct that may be absent
#define VALUE(x) a.Value(x, m.x(), [&m](auto y) { m.set_##x(y); })
#define TIME(x) a.Value(x, m.x##_ns(), [&m](auto y) { m.set_##x##_ns(y); })
#define PART(x) a.Part(x, *m.mutable_##x())
#define OPTIONAL(x) a.Optional(x, m.has_##x(), [&m] { return m.mutable_##x(); })
#define OPTIONAL_TIME(x) \
  a.OptionalValue(x, m.has_##x##_ns(), m.x##_ns(), [&m](auto y) { m.set_##x##_ns(y); })

template <typename A>
static void Map(A& a, In<A, Owner>& v, pb::Owner& m) {
  auto& [uid, gid, groups, user, home] = v;
  VALUE(uid), VALUE(gid), PART(groups), PART(user), PART(home);
}

template <typename A>
static void Map(A& a, In<A, ResourceLimit>& v, pb::ResourceLimit& m) {
  auto& [resource, soft, hard] = v;
  VALUE(resource), VALUE(soft), VALUE(hard);
}

template <typename A>
static void Map(A& a, In<A, Program>& v, pb::Program& m) {
  auto& [argv, environment, workdir, umask, limits] = v;
  PART(argv), PART(environment), PART(workdir), VALUE(umask), PART(limits);
}

template <typename A>
static void Map(A& a, In<A, CheckpointPolicy>& v, pb::CheckpointPolicy& m) {
  auto& [store, keep, required, deadline_ms, bytes_per_s, local, keep_also, metadata, resume] = v;
  PART(store), VALUE(keep), VALUE(required), VALUE(deadline_ms), VALUE(bytes_per_s), PART(local);
  PART(keep_also), PART(metadata), PART(resume);
}

template <typename A>
static void Map(A& a, In<A, RestartPolicy>& v, pb::RestartPolicy& m) {
  auto& [max, on_signal, on_node_lost, on_exit, never] = v;
  VALUE(max), VALUE(on_signal), VALUE(on_node_lost), VALUE(on_exit), PART(never);
}

template <typename A>
static void Map(A& a, In<A, LaunchOptions>& v, pb::LaunchOptions& m) {
  auto& [contracts, bind, gpu_view, prolog, epilog, stdin_rank0, pty, rows, columns] = v;
  PART(contracts), VALUE(bind), VALUE(gpu_view), PART(prolog), PART(epilog);
  VALUE(stdin_rank0), VALUE(pty), VALUE(rows), VALUE(columns);
}

template <typename A>
static void Map(A& a, In<A, JobSpec>& v, pb::JobSpec& m) {
  auto& [name, nodes, ranks_per_node, program, restart, checkpoint, grace_ms, time_limit_s,
         attached, min_nodes, launch] = v;
  PART(name), VALUE(nodes), VALUE(ranks_per_node), PART(program), PART(restart), PART(checkpoint);
  VALUE(grace_ms), VALUE(time_limit_s), VALUE(attached), VALUE(min_nodes);
  PART(launch);
}

template <typename A>
static void Map(A& a, In<A, Host>& v, pb::Host& m) {
  auto& [node, addresses, first_rank, slots] = v;
  PART(node), PART(addresses), VALUE(first_rank), PART(slots);
}

template <typename A>
static void Map(A& a, In<A, Cause>& v, pb::Cause& m) {
  auto& [kind, rank, node, slot, code, text, consequence, wall_us, used_bytes, limit_bytes] = v;
  VALUE(kind), VALUE(rank), PART(node), VALUE(slot), VALUE(code), PART(text);
  VALUE(consequence), VALUE(wall_us), VALUE(used_bytes), VALUE(limit_bytes);
}

template <typename A>
static void Map(A& a, In<A, CoordinatorStarted>& v, pb::CoordinatorStarted& m) {
  auto& [cluster, at] = v;
  PART(cluster), TIME(at);
}

template <typename A>
static void Map(A& a, In<A, NodeRegistered>& v, pb::NodeRegistered& m) {
  auto& [name, addresses, block, leaf, spine, slots, incarnation, boot_id] = v;
  PART(name), PART(addresses), PART(block), PART(leaf), PART(spine);
  VALUE(slots), VALUE(incarnation), PART(boot_id);
}

template <typename A>
static void Map(A& a, In<A, NodeWasLost>& v, pb::NodeWasLost& m) {
  auto& [name] = v;
  PART(name);
}

template <typename A>
static void Map(A& a, In<A, NodeWasFound>& v, pb::NodeWasFound& m) {
  auto& [name] = v;
  PART(name);
}

template <typename A>
static void Map(A& a, In<A, NodeDrainSet>& v, pb::NodeDrainSet& m) {
  auto& [name, reason] = v;
  PART(name), PART(reason);
}

template <typename A>
static void Map(A& a, In<A, JobAccepted>& v, pb::JobAccepted& m) {
  auto& [job, submit_key, run_id, job_key, spec, owner] = v;
  VALUE(job), PART(submit_key), PART(run_id), PART(job_key), PART(spec), PART(owner);
}

template <typename A>
static void Map(A& a, In<A, JobCancelAsked>& v, pb::JobCancelAsked& m) {
  auto& [job, cause, sets_grace, grace_ms] = v;
  VALUE(job), PART(cause), VALUE(sets_grace), VALUE(grace_ms);
}

template <typename A>
static void Map(A& a, In<A, AttemptPlaced>& v, pb::AttemptPlaced& m) {
  auto& [job, attempt, hosts, boot_ids, at] = v;
  VALUE(job), VALUE(attempt), PART(hosts), PART(boot_ids), TIME(at);
}

template <typename A>
static void Map(A& a, In<A, MemberChanged>& v, pb::MemberChanged& m) {
  auto& [job, attempt, node, instance, phase, port, asked_to_stop] = v;
  VALUE(job), VALUE(attempt), PART(node), VALUE(instance);
  VALUE(phase), VALUE(port), VALUE(asked_to_stop);
}

template <typename A>
static void Map(A& a, In<A, MemberReleased>& v, pb::MemberReleased& m) {
  auto& [job, attempt, node, why] = v;
  VALUE(job), VALUE(attempt), PART(node), PART(why);
}

template <typename A>
static void Map(A& a, In<A, FenceBegan>& v, pb::FenceBegan& m) {
  auto& [job, attempt, at] = v;
  VALUE(job), VALUE(attempt), TIME(at);
}

template <typename A>
static void Map(A& a, In<A, AttemptStopped>& v, pb::AttemptStopped& m) {
  auto& [job, attempt, cause] = v;
  VALUE(job), VALUE(attempt), PART(cause);
}

template <typename A>
static void Map(A& a, In<A, AttemptEnded>& v, pb::AttemptEnded& m) {
  auto& [job, attempt, counts_as_restart] = v;
  VALUE(job), VALUE(attempt), VALUE(counts_as_restart);
}

template <typename A>
static void Map(A& a, In<A, JobEnded>& v, pb::JobEnded& m) {
  auto& [job, outcome, exit_code, cause] = v;
  VALUE(job), VALUE(outcome), VALUE(exit_code), PART(cause);
}

template <typename A>
static void Map(A& a, In<A, LeftoverSwept>& v, pb::LeftoverSwept& m) {
  auto& [job, node] = v;
  VALUE(job), PART(node);
}

template <typename A>
static void Map(A& a, In<A, Node>& v, pb::Node& m) {
  auto& [name, addresses, block, leaf, spine, slots, incarnation, boot_id, lost, drained,
         leftovers] = v;
  PART(name), PART(addresses), PART(block), PART(leaf), PART(spine), VALUE(slots);
  VALUE(incarnation), PART(boot_id), VALUE(lost), PART(drained), PART(leftovers);
}

template <typename A>
static void Map(A& a, In<A, Member>& v, pb::Member& m) {
  auto& [host, boot_id, instance, phase, port, vouches_no_more, released, asked_to_stop] = v;
  PART(host), PART(boot_id), VALUE(instance), VALUE(phase), VALUE(port);
  VALUE(vouches_no_more), VALUE(released), VALUE(asked_to_stop);
}

template <typename A>
static void Map(A& a, In<A, Attempt>& v, pb::Attempt& m) {
  auto& [number, members, running, stopping, cause, fence_from, started_at] = v;
  VALUE(number), PART(members), VALUE(running), VALUE(stopping), PART(cause);
  OPTIONAL_TIME(fence_from), OPTIONAL_TIME(started_at);
}

template <typename A>
static void Map(A& a, In<A, Job>& v, pb::Job& m) {
  auto& [id, submit_key, run_id, job_key, spec, owner, phase, attempt, next_attempt, restarts,
         cancel, outcome, exit_code, cause] = v;
  VALUE(id), PART(submit_key), PART(run_id), PART(job_key), PART(spec), PART(owner), VALUE(phase);
  OPTIONAL(attempt), VALUE(next_attempt), VALUE(restarts), OPTIONAL(cancel), VALUE(outcome);
  VALUE(exit_code), PART(cause);
}

template <typename A>
static void Map(A& a, In<A, State>& v, pb::State& m) {
  auto& [cluster, nodes, jobs, submit_keys, next_job, lives] = v;
  PART(cluster), VALUE(next_job), VALUE(lives);
  a.Keyed(nodes, *m.mutable_nodes(), [](const auto& node) { return node.name; });
  a.Keyed(jobs, *m.mutable_jobs(), [](const auto& job) { return job.id; });
  a.Pairs(submit_keys, *m.mutable_submit_keys());
}

// ---- facts and states ---------------------------------------------------------------------------

#define FOR_EACH_FACT(DO)                     \
  DO(CoordinatorStarted, coordinator_started) \
  DO(NodeRegistered, node_registered)         \
  DO(NodeWasLost, node_was_lost)              \
  DO(NodeWasFound, node_was_found)            \
  DO(NodeDrainSet, node_drain_set)            \
  DO(JobAccepted, job_accepted)               \
  DO(JobCancelAsked, job_cancel_asked)        \
  DO(AttemptPlaced, attempt_placed)           \
  DO(MemberChanged, member_changed)           \
  DO(MemberReleased, member_released)         \
  DO(FenceBegan, fence_began)                 \
  DO(AttemptStopped, attempt_stopped)         \
  DO(AttemptEnded, attempt_ended)             \
  DO(JobEnded, job_ended)                     \
  DO(LeftoverSwept, leftover_swept)

namespace {

template <typename T>
std::optional<JobId> JobOf(const T& fact) {
  if constexpr (requires { fact.job; }) return fact.job;
  return std::nullopt;
}

// An alternative that is not in the list above has no overload here: std::visit does not compile.
struct FactWriter {
  pb::Fact& on_disk;
  EncodedFact& encoded;
  Writer writer = {};

#define WRITE(Type, name)                         \
  void operator()(const Type& fact) {             \
    encoded.kind = #name;                         \
    encoded.job = JobOf(fact);                    \
    Map(writer, fact, *on_disk.mutable_##name()); \
  }
  FOR_EACH_FACT(WRITE)
#undef WRITE
};

std::optional<Fact> ReadFact(Reader& reader, pb::Fact& on_disk) {
#define READ(Type, name)                          \
  case pb::Fact::k##Type: {                       \
    Type fact;                                    \
    Map(reader, fact, *on_disk.mutable_##name()); \
    return fact;                                  \
  }
  switch (on_disk.what_case()) {
    FOR_EACH_FACT(READ)
    case pb::Fact::WHAT_NOT_SET:
      break;
  }
#undef READ
  return std::nullopt;
}

Status CheckFormat(bool parsed, std::uint32_t format) {
  if (!parsed || format == 0) return Status(Code::kDataLoss, "the bytes are not of a journal");
  if (format > kJournalFormat) return NewerJournal(format);
  return Status();
}

}  // namespace

Status NewerJournal(std::uint64_t found) {
  return Status(Code::kInvalid, "a journal from a newer version: its format is " +
                                    std::to_string(found) + ", this muster reads formats up to " +
                                    std::to_string(kJournalFormat) +
                                    "; start the newer muster, or choose another state directory");
}

EncodedFact EncodeFact(const Fact& fact) {
  EncodedFact encoded;
  pb::Fact on_disk;
  on_disk.set_format(kJournalFormat);
  std::visit(FactWriter{.on_disk = on_disk, .encoded = encoded}, fact);
  encoded.bytes = on_disk.SerializeAsString();
  return encoded;
}

Result<Fact> DecodeFact(const std::string& bytes) {
  pb::Fact on_disk;
  const bool parsed = on_disk.ParseFromString(bytes);
  RETURN_IF_ERROR(CheckFormat(parsed, on_disk.format()));
  Reader reader;
  std::optional<Fact> fact = ReadFact(reader, on_disk);
  if (!fact) return Status(Code::kDataLoss, "a fact of an unknown kind");
  RETURN_IF_ERROR(reader.status());
  return *std::move(fact);
}

std::string EncodeState(const State& state) {
  pb::State on_disk;
  on_disk.set_format(kJournalFormat);
  Writer writer;
  Map(writer, state, on_disk);
  return on_disk.SerializeAsString();
}

Result<State> DecodeState(const std::string& bytes) {
  pb::State on_disk;
  const bool parsed = on_disk.ParseFromString(bytes);
  RETURN_IF_ERROR(CheckFormat(parsed, on_disk.format()));
  Reader reader;
  State state;
  Map(reader, state, on_disk);
  RETURN_IF_ERROR(reader.status());
  return state;
}

}  // namespace muster
