// What `muster doctor` makes of a line of /proc/self/mountinfo.
#include <gtest/gtest.h>

#include <algorithm>

#include "launcher/cli/mount_advice.h"

namespace muster {
namespace {

const std::string kRoot = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n";

std::string Nfs(const std::string& options, const std::string& own = "rw,noatime") {
  return kRoot + "36 22 0:41 / /mnt/a\\040b " + own + " shared:2 - nfs4 filer:/export " + options +
         "\n";
}

const std::string kAdvised =
    "rw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,proto=tcp,nconnect=8,timeo=600,"
    "retrans=2,sec=sys,clientaddr=10.0.0.2,local_lock=none,addr=10.0.0.1";

std::vector<Finding> Judged(const std::string& mountinfo, std::size_t addresses = 1) {
  const auto mount = FindMount(mountinfo, "/mnt/a b/ckpt");
  EXPECT_TRUE(mount.has_value());
  return mount.has_value() ? JudgeMount(*mount, addresses) : std::vector<Finding>();
}

Finding About(const std::string& what, const std::vector<Finding>& findings) {
  const auto at = std::find_if(findings.begin(), findings.end(),
                               [&](const Finding& f) { return f.what == what; });
  EXPECT_NE(at, findings.end()) << what;
  return at != findings.end() ? *at : Finding{};
}

std::string Without(const std::string& text, const std::string& part) {
  std::string rest = text;
  const std::size_t at = rest.find(part);
  EXPECT_NE(at, std::string::npos) << part;
  return at == std::string::npos ? rest : rest.erase(at, part.size());
}

TEST(MountAdvice, FindsTheMountThatHoldsThePath) {
  const std::string info = Nfs(kAdvised) + "40 36 0:50 / /mnt/a\\040bc rw - tmpfs tmpfs rw\n";
  EXPECT_EQ(FindMount(info, "/mnt/a b/ckpt")->source, "filer:/export");
  EXPECT_EQ(FindMount(info, "/mnt/a b")->point, "/mnt/a b");
  EXPECT_EQ(FindMount(info, "/mnt/a bc/x")->type, "tmpfs");
  EXPECT_EQ(FindMount(info, "/home")->type, "ext4");
  EXPECT_FALSE(FindMount("", "/home").has_value());
  // The later of two mounts on one point is the one that is seen.
  EXPECT_EQ(FindMount(info + "41 36 0:51 / /mnt/a\\040b rw - xfs /dev/x rw\n", "/mnt/a b")->type,
            "xfs");
}

TEST(MountAdvice, HasNothingToSayOfTheMountLineThatItGives) {
  for (const Finding& finding : Judged(Nfs(kAdvised))) {
    EXPECT_EQ(finding.weight, Weight::kGood) << finding.what << ": " << finding.change;
  }
}

TEST(MountAdvice, AMountThatLosesDataIsWrong) {
  EXPECT_EQ(About("hard", Judged(Nfs(Without(kAdvised, "hard,") + ",soft"))).weight,
            Weight::kWrong);
  EXPECT_EQ(About("hard", Judged(Nfs(Without(kAdvised, "hard,") + ",softerr"))).found, "softerr");
  EXPECT_EQ(About("proto", Judged(Nfs(Without(kAdvised, "proto=tcp,") + ",proto=udp"))).weight,
            Weight::kWrong);
  EXPECT_EQ(About("access", Judged(Nfs(kAdvised, "ro,noatime"))).weight, Weight::kWrong);
  const auto memory = FindMount("1 1 0:1 / / rw - tmpfs tmpfs rw\n", "/ckpt");
  EXPECT_EQ(About("file system", JudgeMount(*memory, 0)).weight, Weight::kWrong);
}

TEST(MountAdvice, ASlowMountIsToldWhatWouldBeFaster) {
  const auto advice = [](const std::string& what, const std::string& options,
                         std::size_t addresses = 1) {
    const Finding finding = About(what, Judged(Nfs(options), addresses));
    EXPECT_EQ(finding.weight, Weight::kAdvice) << what;
    return finding.change;
  };
  EXPECT_NE(advice("nconnect", Without(kAdvised, "nconnect=8,")).find("nconnect=8"),
            std::string::npos);
  EXPECT_NE(advice("vers", Without(kAdvised, "vers=4.1,") + ",vers=4.0").find("4.1"),
            std::string::npos);
  EXPECT_NE(advice("wsize", Without(kAdvised, "wsize=1048576,") + ",wsize=65536").find("1048576"),
            std::string::npos);
  EXPECT_NE(advice("timeo", Without(kAdvised, "timeo=600,") + ",timeo=50").find("600"),
            std::string::npos);
  EXPECT_NE(advice("attribute cache", kAdvised + ",noac").find("leave it out"), std::string::npos);
  EXPECT_NE(advice("attribute cache", kAdvised + ",acregmin=0").find("leave it out"),
            std::string::npos);
  EXPECT_NE(advice("sync", kAdvised + ",sync").find("leave it out"), std::string::npos);
  EXPECT_NE(advice("server address", kAdvised, 4).find("4 addresses"), std::string::npos);
  // RDMA is one connection, and 64 KiB a call is what vendors ask for there.
  const std::string rdma = Without(Without(kAdvised, "proto=tcp,nconnect=8,"), "wsize=1048576,") +
                           ",proto=rdma,wsize=65536";
  EXPECT_EQ(About("nconnect", Judged(Nfs(rdma))).weight, Weight::kGood);
  EXPECT_EQ(About("wsize", Judged(Nfs(rdma))).weight, Weight::kGood);
}

TEST(MountAdvice, ATunnelIsSeenByItsAddress) {
  const std::string tunnel = Without(kAdvised, ",addr=10.0.0.1") + ",addr=127.0.0.1";
  EXPECT_NE(About("server address", Judged(Nfs(tunnel))).change.find("port="), std::string::npos);
  const Finding on_port = About("server address", Judged(Nfs(tunnel + ",port=20490")));
  EXPECT_EQ(on_port.change, "");
  EXPECT_NE(on_port.found.find("port 20490"), std::string::npos);
}

}  // namespace
}  // namespace muster
