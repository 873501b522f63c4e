#include "runtime/client/checkpoint_codec.h"

#include <string.h>

#include "runtime/client/wire.h"

// Indexes of link::ToJobd.
enum { TYPE_SAVE_BEGIN = 10, TYPE_SAVE_COPIED = 11, TYPE_LOAD_PARTS = 12 };

// ---- writing ------------------------------------------------------------------------------------

static muster_text TextOf(const char* text) {
  const muster_text t = {text, strlen(text)};
  return t;
}

static void PutExtents(muster_writer* w, const uint64_t* extents, uint32_t ndim) {
  PutNumber(w, ndim, 4);
  for (uint32_t i = 0; i < ndim; ++i) PutNumber(w, extents[i], 8);
}

// As many boxes as leave `tail` bytes.
static void PutBoxes(muster_writer* w, muster_rest* rest, size_t tail) {
  const size_t at = w->size;
  uint32_t count = 0;
  PutNumber(w, 0, 4);
  while (rest->count > 0) {
    const muster_writer before = *w;
    PutText(w, TextOf(rest->boxes->name));
    PutText(w, TextOf(rest->boxes->dtype));
    PutExtents(w, rest->boxes->global_shape, rest->boxes->ndim);
    PutExtents(w, rest->boxes->offset, rest->boxes->ndim);
    PutExtents(w, rest->boxes->shape, rest->boxes->ndim);
    if (!w->fits || w->room - w->size < tail) {
      *w = before;
      break;
    }
    ++count;
    ++rest->boxes;
    --rest->count;
  }
  if (!w->fits) return;
  muster_writer number = {w->to + at, 4, 0, 1};
  PutNumber(&number, count, 4);
}

size_t muster_encode_save_begin(unsigned char* to, size_t room, uint64_t seq, uint64_t step,
                                uint64_t bytes, uint32_t timeout_ms, uint64_t common,
                                muster_rest* rest) {
  enum { kBehindText = 4 + 1 + 8 };
  const size_t before = rest->count;
  muster_writer w = BeginPacket(to, room);
  PutNumber(&w, step, 8);
  PutNumber(&w, bytes, 8);
  PutNumber(&w, timeout_ms, 4);
  PutBoxes(&w, rest, kBehindText);
  const size_t left = w.fits && w.room - w.size > kBehindText ? w.room - w.size - kBehindText : 0;
  const size_t piece = rest->text.size < left ? rest->text.size : left;
  const muster_text text = {rest->text.data, piece};
  PutText(&w, text);
  rest->text.data += piece;
  rest->text.size -= piece;
  const int more = rest->count > 0 || rest->text.size > 0;
  PutNumber(&w, (uint64_t)more, 1);
  PutNumber(&w, common, 8);
  // A box that no packet holds.
  if (more && before == rest->count && piece == 0) return 0;
  return EndPacket(&w, TYPE_SAVE_BEGIN, seq);
}

size_t muster_encode_save_copied(unsigned char* to, size_t room, uint64_t seq, uint64_t step,
                                 muster_text error) {
  muster_writer w = BeginPacket(to, room);
  PutNumber(&w, step, 8);
  PutText(&w, error);
  return EndPacket(&w, TYPE_SAVE_COPIED, seq);
}

size_t muster_encode_load(unsigned char* to, size_t room, uint64_t seq, uint64_t number,
                          uint32_t timeout_ms, muster_rest* rest) {
  const size_t before = rest->count;
  muster_writer w = BeginPacket(to, room);
  PutNumber(&w, number, 8);
  for (int unused = 0; unused < 3; ++unused) PutNumber(&w, 0, 8);
  PutNumber(&w, timeout_ms, 4);
  const uint64_t any = rest->text.size > 0 && rest->any;
  PutNumber(&w, (rest->text.size > 0) + any, 4);
  if (rest->text.size > 0) PutText(&w, rest->text);
  rest->text.size = 0;
  if (any) PutText(&w, rest->text);  // An empty pattern says so.
  PutBoxes(&w, rest, 1);
  PutNumber(&w, rest->count > 0, 1);
  if (rest->count > 0 && before == rest->count) return 0;
  return EndPacket(&w, TYPE_LOAD_PARTS, seq);
}

// ---- reading ------------------------------------------------------------------------------------

static muster_reader ReaderOf(muster_text body) {
  muster_reader r = {(const unsigned char*)body.data, body.size, 1};
  return r;
}

int muster_decode_saved(muster_text body, muster_saved* saved) {
  muster_reader r = ReaderOf(body);
  const muster_text none = {"", 0};
  saved->error = none;
  saved->local = 0;
  saved->step = GetNumber(&r, 8);
  if (More(&r)) saved->error = GetText(&r);
  if (More(&r)) GetNumber(&r, 1);  // Whether the job may go on without.
  if (More(&r)) saved->local = GetNumber(&r, 1) != 0;
  return r.ok;
}

int muster_decode_save_into(muster_text body, muster_save_into* into) {
  muster_reader r = ReaderOf(body);
  into->step = GetNumber(&r, 8);
  into->begin = GetNumber(&r, 8);
  into->bytes = GetNumber(&r, 8);
  into->error = GetText(&r);
  into->busy = More(&r) && GetNumber(&r, 1) != 0;
  return r.ok;
}

uint64_t muster_little_endian(const unsigned char* at) {
  uint64_t number = 0;
  for (size_t i = 0; i < 8; ++i) number |= (uint64_t)at[i] << (8 * i);
  return number;
}

static const unsigned char* GetNumbers(muster_reader* r, uint64_t* count) {
  *count = GetNumber(r, 4);
  if (!r->ok || *count > r->left / 8) {
    r->ok = 0;
    return NULL;
  }
  const unsigned char* numbers = r->at;
  r->at += *count * 8;
  r->left -= (size_t)*count * 8;
  return numbers;
}

static void GetTensor(muster_reader* r, muster_loaded_tensor* tensor) {
  uint64_t global = 0, offset = 0, shape = 0;
  tensor->name = GetText(r);
  tensor->dtype = GetText(r);
  tensor->global_shape = GetNumbers(r, &global);
  tensor->offset = GetNumbers(r, &offset);
  tensor->shape = GetNumbers(r, &shape);
  if (global != offset || offset != shape || shape > MUSTER_NDIM_MAX) r->ok = 0;
  tensor->ndim = (uint32_t)shape;
}

int muster_decode_loaded(muster_text body, muster_loaded* loaded) {
  muster_reader r = ReaderOf(body);
  muster_loaded_tensor tensor;
  uint64_t begins = 0;
  loaded->number = GetNumber(&r, 8);
  loaded->bytes = GetNumber(&r, 8);
  loaded->count = (size_t)GetNumber(&r, 4);
  loaded->tensors.data = (const char*)r.at;
  for (size_t i = 0; r.ok && i < loaded->count; ++i) GetTensor(&r, &tensor);
  loaded->tensors.size = (size_t)((const char*)r.at - loaded->tensors.data);
  loaded->begins = GetNumbers(&r, &begins);
  loaded->metadata = GetText(&r);
  loaded->error = GetText(&r);
  loaded->more = (int)GetNumber(&r, 1);
  loaded->none = GetNumber(&r, 1) != 0;
  loaded->step = GetNumber(&r, 8);
  return r.ok && begins == loaded->count;
}

void muster_next_loaded(muster_text* tensors, muster_loaded_tensor* tensor) {
  muster_reader r = ReaderOf(*tensors);
  GetTensor(&r, tensor);
  tensors->data = (const char*)r.at;
  tensors->size = r.left;
}
