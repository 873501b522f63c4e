#include "launcher/agent/input_pull_grpc.h"

namespace muster {
namespace {

v1::PullWord Closed() {
  v1::PullWord word;
  word.set_closed(true);
  return word;
}

}  // namespace

InputPull::InputPull(std::shared_ptr<v1::AgentLink::Stub> stub, const ExecWish& wish,
                     Result<ExecDoorPlace> door)
    : stub_(std::move(stub)), wish_(wish), door_(std::move(door)) {
  thread_ = std::jthread([this] { Main(); });
}

InputPull::~InputPull() {
  context_.TryCancel();
  stop_.Set();
}

void InputPull::Main() {
  {
    Result<InputWriter> writer =
        door_.ok() ? InputWriter::Take(*door_, wish_.asked.attempt, stop_.fd()) : door_.status();
    const auto stream = stub_->PullInput(&context_);
    v1::PullWord first;
    first.set_id(wish_.id);
    const bool over = writer.status().code() == Code::kAborted;
    first.set_closed(over);
    if (!writer.ok() && !over) first.set_failure(writer.status().message());
    const bool wanted = stream->Write(first);
    if (wanted && writer.ok()) Carry(*stream, *writer);
    if (writer.ok()) writer->Close();
    stream->Write(Closed());
    stream->WritesDone();
    for (v1::InputPiece rest; stream->Read(&rest);) {  // Else the call's end does not come.
    }
    stream->Finish();
  }
  done_ = true;
}

void InputPull::Carry(Stream& stream, const InputWriter& writer) {
  const StopFlag over;
  // The coordinator hears of it even while nothing is to be written, and ends the call.
  std::jthread eye([&] {
    if (writer.AwaitClosed(over.fd())) stream.Write(Closed());
  });
  for (v1::InputPiece piece; stream.Read(&piece) && !piece.end();) {
    if (piece.rows() != 0) writer.Resize(piece.rows(), piece.columns());
    if (!writer.Put(piece.data(), stop_.fd())) break;
  }
  over.Set();
}

}  // namespace muster
