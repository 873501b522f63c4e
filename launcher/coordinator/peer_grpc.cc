#include "launcher/coordinator/peer_grpc.h"

namespace muster {

Result<Identity> PeerOf(const grpc::ServerContextBase& context) {
  const auto auth = context.auth_context();
  if (!auth->IsPeerAuthenticated()) return Status(Code::kDenied, "a client without a certificate");
  for (const grpc::string_ref& uri : auth->FindPropertyValues("peer_uri")) {
    return ParseIdentityUri(std::string(uri.data(), uri.size()));
  }
  return Status(Code::kDenied, "the client's certificate names nobody of this cluster");
}

grpc::Status ToGrpc(const Status& status) {
  static constexpr grpc::StatusCode kCodes[] = {grpc::OK,
                                                grpc::INVALID_ARGUMENT,
                                                grpc::NOT_FOUND,
                                                grpc::ALREADY_EXISTS,
                                                grpc::UNAVAILABLE,
                                                grpc::DEADLINE_EXCEEDED,
                                                grpc::ABORTED,
                                                grpc::PERMISSION_DENIED,
                                                grpc::RESOURCE_EXHAUSTED,
                                                grpc::DATA_LOSS,
                                                grpc::UNIMPLEMENTED,
                                                grpc::INTERNAL};
  static_assert(std::size(kCodes) == static_cast<std::size_t>(Code::kInternal) + 1);
  if (status.ok()) return grpc::Status::OK;
  return {kCodes[static_cast<std::size_t>(status.code())], status.message()};
}

Status MayTouch(const Identity& identity, std::uint32_t owner_uid) {
  if (identity.kind == Identity::Kind::kUser &&
      (identity.is_operator || identity.uid == owner_uid)) {
    return {};
  }
  return Status(Code::kDenied, Describe(identity) + " may not touch a job of uid " +
                                   std::to_string(owner_uid) + "; its owner or an operator may");
}

}  // namespace muster
