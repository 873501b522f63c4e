#include "launcher/jobd/save_texts.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

TEST(SaveTexts, TellWhichNodesAndRanksMadeIt) {
  const StartAttempt order{
      .attempt = 2, .hosts = {{.node = "n1", .slots = {0, 1}}, {.node = "n2", .slots = {4}}}};
  EXPECT_EQ(TopologyText(order),
            R"({"nodes":2,"ranks":3,"attempt":2,"hosts":[{"node":"n1","ranks":2},)"
            R"({"node":"n2","ranks":1}]})");
}

TEST(SaveTexts, TellTheJobAndWhatItsFileGives) {
  const StartAttempt order{.job = 7,
                           .program = {.argv = {"python3", "a \"b\" \\"}},
                           .checkpoint = {.metadata = {"data=v2", "x=y=z", "data=v3"}},
                           .name = "gpt"};
  EXPECT_EQ(MetadataText(order),
            R"({"job":{"id":7,"name":"gpt","command":["python3","a \"b\" \\"]},)"
            R"("data":"v3","x":"y=z"})");
}

// A manifest refuses text that is no JSON, and with it the save.
TEST(SaveTexts, AreJsonWhateverACommandLineHolds) {
  const auto command = [](const std::string& word) {
    const std::string text = MetadataText({.program = {.argv = {word}}});
    const std::string begin = R"({"job":{"id":0,"name":"","command":[")";
    EXPECT_TRUE(text.starts_with(begin) && text.ends_with("\"]}}")) << text;
    return text.substr(begin.size(), text.size() - begin.size() - 4);
  };
  EXPECT_EQ(command("a\n\x01\x7f"), R"(a\u000a\u0001\u007f)");
  EXPECT_EQ(command("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
            "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
  // Cut short, too long for what it says, half of a pair, past the last character.
  for (const char* word : {"\xc3", "\xff", "\x80"}) EXPECT_EQ(command(word), R"(\ufffd)") << word;
  EXPECT_EQ(command("\xc0\xaf"), R"(\ufffd\ufffd)");
  EXPECT_EQ(command("\xe2\x82z"), R"(\ufffd\ufffdz)");
  EXPECT_EQ(command("\xed\xa0\x80"), R"(\ufffd\ufffd\ufffd)");
  EXPECT_EQ(command("\xf4\x90\x80\x80"), R"(\ufffd\ufffd\ufffd\ufffd)");
}

}  // namespace
}  // namespace muster
