#include "launcher/agent/agent.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

template <typename T>
const T* Find(const std::vector<AgentEffect>& effects) {
  for (const AgentEffect& effect : effects) {
    if (const T* found = std::get_if<T>(&effect)) return found;
  }
  return nullptr;
}

AgentState Registered() {
  AgentState state;
  Step(state, SessionOpened{7});
  return state;
}

std::vector<AgentEffect> Give(AgentState& state, const Order& order, Incarnation incarnation = 7) {
  return Step(state, OrderArrived{incarnation, order});
}

TEST(Agent, DropsAnOrderOfAnotherSession) {
  AgentState state = Registered();
  EXPECT_TRUE(Give(state, StartAttempt{.job = 1}, 6).empty());
  EXPECT_NE(Find<SpawnJobd>(Give(state, StartAttempt{.job = 1})), nullptr);
}

TEST(Agent, RegistersOnlyWhenEveryJobdOfItsFormerLifeIsKnown) {
  AgentState state;
  EXPECT_EQ(Step(state, AgentBegan{{1, 2}}).size(), 2U);
  EXPECT_TRUE(Step(state, SessionOpened{7}).empty());
  const JobdStatus running{.job = 1, .instance = 9, .phase = MemberPhase::kRunning};
  EXPECT_EQ(Find<RegisterWith>(Step(state, JobdSaid{running})), nullptr);
  EXPECT_NE(Find<ContainJob>(Step(state, JobdExited{2})), nullptr);
  EXPECT_NE(Find<SweepJob>(Step(state, JobContained{2})), nullptr);
  const auto effects = Step(state, JobSwept{2});
  const auto* registration = Find<RegisterWith>(effects);
  ASSERT_NE(registration, nullptr);
  EXPECT_EQ(registration->jobds, std::vector<JobdStatus>{running});
}

TEST(Agent, SaysDeadOnlyAfterContainment) {
  AgentState state = Registered();
  Give(state, StartAttempt{.job = 1});
  Step(state, JobdSaid{{.job = 1, .instance = 9, .phase = MemberPhase::kRunning}});
  EXPECT_EQ(Find<SendStatus>(Step(state, JobdExited{1})), nullptr);
  const auto effects = Step(state, JobContained{1});
  ASSERT_NE(Find<SendStatus>(effects), nullptr);
  EXPECT_EQ(Find<SendStatus>(effects)->status.phase, MemberPhase::kDead);
}

TEST(Agent, StartsTheNextJobdOnlyAfterTheOldOneIsContained) {
  AgentState state = Registered();
  Give(state, StartAttempt{.job = 1});
  Step(state, JobdSaid{{.job = 1, .instance = 9, .phase = MemberPhase::kRunning}});
  Step(state, JobdExited{1});
  EXPECT_EQ(Find<SpawnJobd>(Give(state, StartAttempt{.job = 1, .attempt = 1})), nullptr);
  EXPECT_NE(Find<SpawnJobd>(Step(state, JobContained{1})), nullptr);
}

}  // namespace
}  // namespace muster
