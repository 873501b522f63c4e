#include "launcher/coordinator/facts_proto.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <utility>

#include "muster/v1/journal.pb.h"

namespace muster {

// Never defined, so it stands outside: what has internal linkage must be.
struct Anything {
  template <typename T>
  operator T() const;  // NOLINT: it stands for a member of any type.
};

namespace {

namespace pb = v1::journal;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// ---- every field of a message, filled with something that no default is
// --------------------------

class Filler {
 public:
  explicit Filler(std::uint64_t first) : next_(first) {}

  void Fill(Message* message) {
    const Descriptor& type = *message->GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (field.real_containing_oneof() != nullptr) continue;  // Alternatives: the caller's.
      const int times = field.is_repeated() ? 3 : 1;
      for (int t = 0; t < times; ++t) FillOne(message, field);
    }
  }

 private:
  // An enum takes each of its values in turn; 0 stands for "absent" and shows nothing.
  int EnumValue(const FieldDescriptor& field) {
    const auto& type = *field.enum_type();
    const std::uint64_t others = static_cast<std::uint64_t>(type.value_count()) - 1;
    return type.value(1 + static_cast<int>(next_++ % others))->number();
  }

  void FillOne(Message* message, const FieldDescriptor& field) {
    const Reflection& r = *message->GetReflection();
    const std::uint64_t n = ++next_;
    const bool many = field.is_repeated();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return many ? r.AddInt32(message, &field, -static_cast<int>(n))
                    : r.SetInt32(message, &field, -static_cast<int>(n));
      case FieldDescriptor::CPPTYPE_INT64:
        return r.SetInt64(message, &field, -static_cast<std::int64_t>(n << 33U));
      case FieldDescriptor::CPPTYPE_UINT32:
        return many ? r.AddUInt32(message, &field, static_cast<std::uint32_t>(n))
                    : r.SetUInt32(message, &field, static_cast<std::uint32_t>(n));
      case FieldDescriptor::CPPTYPE_UINT64:
        return many ? r.AddUInt64(message, &field, n << 33U)
                    : r.SetUInt64(message, &field, n << 33U);
      case FieldDescriptor::CPPTYPE_BOOL:
        return r.SetBool(message, &field, true);
      case FieldDescriptor::CPPTYPE_ENUM:
        return r.SetEnumValue(message, &field, EnumValue(field));
      case FieldDescriptor::CPPTYPE_STRING: {
        // Rising, as keys of a map come back sorted; no UTF-8.
        const std::string text = std::to_string(1000000 + n) + std::string("\0\xff\xc0", 3);
        return many ? r.AddString(message, &field, text) : r.SetString(message, &field, text);
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Fill(many ? r.AddMessage(message, &field) : r.MutableMessage(message, &field));
      default:
        FAIL() << field.full_name() << " has a type that this test does not know";
    }
  }

  std::uint64_t next_;
};

// ---- how many members a struct has
// ---------------------------------------------------------------

template <typename T, typename... Members>
constexpr std::size_t Count() {
  if constexpr (requires { T{Members{}..., Anything{}}; }) {
    return Count<T, Members..., Anything>();
  } else {
    return sizeof...(Members);
  }
}

template <typename T, typename M>
void ExpectAsManyMembers() {
  EXPECT_EQ(Count<T>(), static_cast<std::size_t>(M::descriptor()->field_count()))
      << M::descriptor()->full_name() << " and its struct do not have the same members";
}

TEST(FactsProto, EveryMemberOfEveryStructHasItsField) {
  ExpectAsManyMembers<Owner, pb::Owner>();
  ExpectAsManyMembers<ResourceLimit, pb::ResourceLimit>();
  ExpectAsManyMembers<Program, pb::Program>();
  ExpectAsManyMembers<CheckpointPolicy, pb::CheckpointPolicy>();
  ExpectAsManyMembers<RestartPolicy, pb::RestartPolicy>();
  ExpectAsManyMembers<JobSpec, pb::JobSpec>();
  ExpectAsManyMembers<LaunchOptions, pb::LaunchOptions>();
  ExpectAsManyMembers<Host, pb::Host>();
  ExpectAsManyMembers<Cause, pb::Cause>();
  ExpectAsManyMembers<CoordinatorStarted, pb::CoordinatorStarted>();
  ExpectAsManyMembers<NodeRegistered, pb::NodeRegistered>();
  ExpectAsManyMembers<NodeWasLost, pb::NodeWasLost>();
  ExpectAsManyMembers<NodeWasFound, pb::NodeWasFound>();
  ExpectAsManyMembers<NodeDrainSet, pb::NodeDrainSet>();
  ExpectAsManyMembers<JobAccepted, pb::JobAccepted>();
  ExpectAsManyMembers<JobCancelAsked, pb::JobCancelAsked>();
  ExpectAsManyMembers<AttemptPlaced, pb::AttemptPlaced>();
  ExpectAsManyMembers<MemberChanged, pb::MemberChanged>();
  ExpectAsManyMembers<MemberReleased, pb::MemberReleased>();
  ExpectAsManyMembers<FenceBegan, pb::FenceBegan>();
  ExpectAsManyMembers<AttemptStopped, pb::AttemptStopped>();
  ExpectAsManyMembers<AttemptEnded, pb::AttemptEnded>();
  ExpectAsManyMembers<JobEnded, pb::JobEnded>();
  ExpectAsManyMembers<LeftoverSwept, pb::LeftoverSwept>();
  ExpectAsManyMembers<Node, pb::Node>();
  ExpectAsManyMembers<Member, pb::Member>();
  ExpectAsManyMembers<Attempt, pb::Attempt>();
  ExpectAsManyMembers<Job, pb::Job>();
  EXPECT_EQ(Count<State>() + 1, static_cast<std::size_t>(pb::State::descriptor()->field_count()))
      << "a State on disk has its members and the format";
  EXPECT_EQ(std::variant_size_v<Fact> + 1,
            static_cast<std::size_t>(pb::Fact::descriptor()->field_count()))
      << "a Fact on disk has its alternatives and the format";
}

// ---- there and back
// ------------------------------------------------------------------------------

std::string Text(const Message& message) {
  return message.DebugString();
}

TEST(FactsProto, EveryMemberOfEveryFactComesBack) {
  const Descriptor& type = *pb::Fact::descriptor();
  std::set<std::size_t> alternatives;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& what = *type.field(i);
    if (what.containing_oneof() == nullptr) continue;
    for (std::uint64_t seed = 0; seed < 32; ++seed) {  // Every value of every enum.
      pb::Fact written;
      written.set_format(kJournalFormat);
      Filler(seed).Fill(written.GetReflection()->MutableMessage(&written, &what));
      const Result<Fact> fact = DecodeFact(written.SerializeAsString());
      ASSERT_TRUE(fact.ok()) << what.name() << ": " << fact.status().message();
      const EncodedFact encoded = EncodeFact(*fact);
      pb::Fact again;
      ASSERT_TRUE(again.ParseFromString(encoded.bytes));
      EXPECT_EQ(Text(again), Text(written));
      EXPECT_EQ(encoded.kind, what.name());
      alternatives.insert(fact->index());
    }
  }
  EXPECT_EQ(alternatives.size(), std::variant_size_v<Fact>);
}

TEST(FactsProto, EveryMemberOfTheStateComesBack) {
  for (std::uint64_t seed = 0; seed < 32; ++seed) {
    pb::State written;
    Filler(seed).Fill(&written);
    written.set_format(kJournalFormat);
    const Result<State> state = DecodeState(written.SerializeAsString());
    ASSERT_TRUE(state.ok()) << state.status().message();
    const std::string bytes = EncodeState(*state);
    pb::State again;
    ASSERT_TRUE(again.ParseFromString(bytes));
    EXPECT_EQ(Text(again), Text(written));
    const Result<State> twice = DecodeState(bytes);
    ASSERT_TRUE(twice.ok());
    EXPECT_EQ(*twice, *state);
    EXPECT_NE(*state, State());
  }
}

TEST(FactsProto, AbsentMeansAbsentAndDefaultsStayWhatWasWritten) {
  State state;
  Job job{.id = 7};
  job.spec.nodes = 0;  // The default is 1.
  job.cause.rank = 0;  // The default is -1.
  state.jobs[7] = job;
  job.id = 8;
  job.attempt.emplace().fence_from = TimePoint();
  job.cancel.emplace();
  state.jobs[8] = job;
  const Result<State> back = DecodeState(EncodeState(state));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, state);
}

TEST(FactsProto, EveryEnumOnDiskIsKnownAndEveryOtherNumberIsRefused) {
  const auto decode = [](const std::function<void(pb::Fact*)>& set) {
    pb::Fact fact;
    fact.set_format(kJournalFormat);
    set(&fact);
    return DecodeFact(fact.SerializeAsString()).status().code();
  };
  for (int n = -1; n < 300; ++n) {
    const auto expected = [](bool known) { return known ? Code::kOk : Code::kDataLoss; };
    EXPECT_EQ(decode([n](pb::Fact* fact) {
                fact->mutable_job_ended()->mutable_cause()->set_kind(pb::CauseKind(n));
              }),
              expected(pb::CauseKind_IsValid(n)))
        << n;
    EXPECT_EQ(decode([n](pb::Fact* fact) {
                fact->mutable_member_changed()->set_phase(pb::MemberPhase(n));
              }),
              expected(pb::MemberPhase_IsValid(n)))
        << n;
    EXPECT_EQ(
        decode([n](pb::Fact* fact) { fact->mutable_job_ended()->set_outcome(pb::Outcome(n)); }),
        expected(pb::Outcome_IsValid(n)))
        << n;
  }
  EXPECT_EQ(decode([](pb::Fact* fact) { fact->mutable_member_changed()->set_port(65536); }),
            Code::kDataLoss);
}

TEST(FactsProto, KindAndJobAreThoseOfTheFact) {
  const EncodedFact swept = EncodeFact(LeftoverSwept{.job = 12, .node = "n3"});
  EXPECT_EQ(swept.kind, "leftover_swept");
  EXPECT_EQ(swept.job, 12U);
  const EncodedFact lost = EncodeFact(NodeWasLost{.name = "n3"});
  EXPECT_EQ(lost.kind, "node_was_lost");
  EXPECT_EQ(lost.job, std::nullopt);
}

// ---- what cannot be read
// --------------------------------------------------------------------------

TEST(FactsProto, ANewerFormatIsRefusedWithBothVersionsAndAWayOut) {
  pb::Fact fact;
  fact.set_format(kJournalFormat + 1);
  const Status status = DecodeFact(fact.SerializeAsString()).status();
  EXPECT_EQ(status.code(), Code::kInvalid);
  for (const std::string& part :
       {std::string("a journal from a newer version"), std::to_string(kJournalFormat),
        std::to_string(kJournalFormat + 1), std::string("start the newer muster")}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
  pb::State state;
  state.set_format(kJournalFormat + 1);
  EXPECT_EQ(DecodeState(state.SerializeAsString()).status(), status);
}

TEST(FactsProto, WhatIsNoFactIsDataLoss) {
  EXPECT_EQ(DecodeFact("").status().code(), Code::kDataLoss);
  EXPECT_EQ(DecodeFact("\xff\xff\xff").status().code(), Code::kDataLoss);
  pb::Fact empty;
  empty.set_format(kJournalFormat);
  EXPECT_EQ(DecodeFact(empty.SerializeAsString()).status().code(), Code::kDataLoss);
  EXPECT_EQ(DecodeState("").status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace muster
