#include "runtime/train/backward.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

const Layout& SomeLayout() {
  static const Layout kLayout({{.name = "first", .shape = {10}},
                               {.name = "second", .shape = {33}},
                               {.name = "third", .shape = {40, 5}}});
  return kLayout;
}

struct Heard {
  int began = 0;
  std::vector<std::size_t> reached;
  Backward::Listener listener() {
    return {.began = [this] { ++began; },
            .reached = [this](std::size_t elements) { reached.push_back(elements); }};
  }
};

TEST(Backward, TheFrontierIsThePrefixOfTheLayoutThatIsFinal) {
  const Layout& layout = SomeLayout();
  Backward backward(layout);
  Heard heard;
  backward.Open({}, 1, heard.listener());
  backward.Final(1);  // Lies behind the third: nothing is known yet.
  EXPECT_EQ(heard.began, 1);
  EXPECT_TRUE(heard.reached.empty());
  backward.Final(2);
  EXPECT_EQ(heard.reached, (std::vector<std::size_t>{layout.offset(0)}));
  backward.Final(0);
  EXPECT_EQ(heard.reached.back(), layout.elements());
  EXPECT_TRUE(backward.Close().ok());
  EXPECT_EQ(heard.began, 1);
}

TEST(Backward, AModelMayTellAllAtTheEnd) {
  Backward backward(SomeLayout());
  Heard heard;
  for (int round = 0; round < 2; ++round) {
    backward.Open({}, 1, heard.listener());
    backward.Begin();
    backward.AllFinal();
    EXPECT_TRUE(backward.Close().ok());
  }
  EXPECT_EQ(heard.began, 2);
  EXPECT_EQ(heard.reached.back(), SomeLayout().elements());
}

TEST(Backward, WhatIsNeverToldIsAnErrorThatNamesTheTensor) {
  Backward backward(SomeLayout());
  backward.Open({.step = 7, .index = 3}, 1, {});
  backward.Final(2);
  const Status told = backward.Close();
  EXPECT_EQ(told.code(), Code::kInvalid);
  EXPECT_EQ(told.message(),
            "step 7, micro-batch 3: the gradient of second and 1 more were never told to be final: "
            "call Backward::Final for each tensor, or AllFinal at the end");
}

TEST(Backward, WhatIsToldTwiceOrLateOrDoesNotExistIsNamed) {
  const auto message = [](const std::function<void(Backward&)>& wrong) {
    Backward backward(SomeLayout());
    backward.Open({.step = 1, .index = 2}, 1, {});
    wrong(backward);
    backward.AllFinal();
    const Status told = backward.Close();
    EXPECT_EQ(told.code(), Code::kInvalid);
    return told.message();
  };
  EXPECT_EQ(message([](Backward& b) {
              b.Final(1);
              b.Final(1);
            }),
            "step 1, micro-batch 2: the gradient of second was told twice");
  EXPECT_EQ(message([](Backward& b) { b.Final(3); }),
            "step 1, micro-batch 2: the gradient of number 3 does not exist, the model has 3 "
            "tensors");
  EXPECT_EQ(message([](Backward& b) {
              b.AllFinal();
              EXPECT_TRUE(b.Close().ok());
              b.Final(0);
              b.Open({.step = 1, .index = 3}, 1, {});
            }),
            "step 1, micro-batch 2: the gradient of first was told too late, after Model::Gradient "
            "had returned");
}

}  // namespace
}  // namespace muster
