#include "launcher/agent/session_proto.h"

#include "runtime/base/wire.h"

namespace muster {

v1::AgentMessage ToProto(const Registration& registration) {
  v1::AgentMessage message;
  v1::Register* to = message.mutable_register_();
  to->set_node(registration.node);
  to->set_incarnation(registration.incarnation);
  to->set_boot_id(registration.boot_id);
  to->set_slots(registration.slots);
  for (const std::string& address : registration.addresses) to->add_addresses(address);
  to->set_block(registration.block);
  to->set_leaf(registration.leaf);
  to->set_spine(registration.spine);
  for (const JobdStatus& status : registration.jobds) to->add_statuses(EncodeWire(status));
  return message;
}

LogWish FromProto(const v1::LogWanted& message) {
  LogWish wish{.job = message.job(),
               .first_attempt = message.first_attempt(),
               .last_attempt = message.last_attempt(),
               .first_rank = message.first_rank(),
               .last_rank = message.last_rank(),
               .ranks = {message.ranks().begin(), message.ranks().end()},
               .selection = {.no_stdout = message.selection().no_stdout(),
                             .no_stderr = message.selection().no_stderr(),
                             .tail_lines = message.selection().tail_lines(),
                             .since_us = message.selection().since_us(),
                             .behind_bytes = message.selection().behind_bytes(),
                             .progress = message.selection().progress(),
                             .recorder = message.selection().recorder()}};
  for (const v1::LogFrom& from : message.from()) {
    wish.from.push_back(
        {.file = {.attempt = from.attempt(), .rank = from.rank(), .is_stderr = from.is_stderr()},
         .offset = from.offset()});
  }
  return wish;
}

ExecWish FromProto(const v1::ExecWanted& message) {
  return {.id = message.id(),
          .job = message.job(),
          .asked = {.attempt = message.attempt(),
                    .rank = message.rank(),
                    .argv = {message.argv().begin(), message.argv().end()},
                    .recorders = message.recorders()}};
}

ExecWish FromProto(const v1::InputWanted& message) {
  return {.id = message.id(),
          .job = message.job(),
          .asked = {.attempt = message.attempt(), .argv = {}, .input = true}};
}

}  // namespace muster
