// What a JPEG file has before the data of its image, with the results of orientation_in() and is_progressive() of
// data/jpeg.py.
#include <cstring>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "threads.h"

namespace {

using namespace tensorflow;  // NOLINT: a kernel file

REGISTER_OP("JpegHeader")
    .Input("content: string")
    .Output("orientation: int32")
    .Output("is_progressive: bool")
    .SetShapeFn([](shape_inference::InferenceContext* context) {
      context->set_output(0, context->Scalar());
      context->set_output(1, context->Scalar());
      return Status::OK();
    })
    .Doc("The orientation of EXIF in a JPEG file, 1 to 8, and whether its image comes in several scans; 1 and false for "
         "another file.");

const int FILLED = 0xff, EXIF = 0xe1, SCAN = 0xda;  // second bytes of markers
const int ORIENTATION = 0x112, SHORT = 3;           // a tag of EXIF, and the type of its value

// Bytes of which numbers are read; one that lies beyond their end makes them broken.
struct Bytes {
  const uint8* first;
  uint64 size;
  bool is_little_endian, is_broken;

  uint64 number(uint64 offset, int bytes) {
    if (offset + bytes > size) {
      is_broken = true;
      return 0;
    }
    uint64 found = 0;
    for (int i = 0; i < bytes; ++i) found = found << 8 | first[offset + (is_little_endian ? bytes - 1 - i : i)];
    return found;
  }
};

int orientation_in_tiff(Bytes tiff) {
  tiff.is_little_endian = tiff.size >= 4 && !std::memcmp(tiff.first, "II*\0", 4);
  if (!tiff.is_little_endian && (tiff.size < 4 || std::memcmp(tiff.first, "MM\0*", 4))) return 1;
  const uint64 directory = tiff.number(4, 4), count = tiff.number(directory, 2);
  for (uint64 entry = directory + 2; entry < directory + 2 + 12 * count; entry += 12) {
    const uint64 tag = tiff.number(entry, 2), type = tiff.number(entry + 2, 2), value = tiff.number(entry + 8, 2);
    if (tiff.is_broken) break;
    if (tag == ORIENTATION) return type == SHORT && value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

bool is_of_several_scans(int marker) { return marker == 0xc2 || marker == 0xc6 || marker == 0xca || marker == 0xce; }

class JpegHeader : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const string& content = context->input(0).scalar<string>()();
    Tensor *orientation = nullptr, *is_progressive = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({}), &orientation));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({}), &is_progressive));
    int32& found = orientation->scalar<int32>()() = 0;
    bool& has_scans = is_progressive->scalar<bool>()() = false;
    Bytes file = {reinterpret_cast<const uint8*>(content.data()), content.size(), false, false};
    const bool is_jpeg = file.size >= 2 && !std::memcmp(file.first, "\xff\xd8", 2);
    uint64 offset = is_jpeg ? 2 : file.size;
    while (offset + 4 <= file.size && file.first[offset] == FILLED && file.first[offset + 1] != SCAN) {
      const int marker = file.first[offset + 1];
      if (marker == FILLED) {  // a marker may have any number of bytes 0xff before it
        ++offset;
        continue;
      }
      const uint64 end = offset + 2 + file.number(offset + 2, 2), start = offset + 4 + 6;
      has_scans |= is_of_several_scans(marker);
      if (!found && marker == EXIF && start <= std::min(end, file.size) &&
          !std::memcmp(file.first + offset + 4, "Exif\0\0", 6)) {
        found = orientation_in_tiff({file.first + start, std::min(end, file.size) - start, false, false});
      }
      offset = end;
    }
    if (!found) found = 1;
  }
};

REGISTER_KERNEL_BUILDER(Name("JpegHeader").Device(DEVICE_CPU), JpegHeader);

}  // namespace
