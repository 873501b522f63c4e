// The elementwise and row-wise parts of a GPT, forward and backward.
//
// Exp and log are our own and every sum has a fixed shape, so that the bits do not depend on the
// machine's libm or on the width of its vectors.  Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace muster {

// No two arguments of one call overlap.

// rows x width.  mean and rstd keep one value a row for the way back.
void LayerNorm(std::size_t rows, std::size_t width, const float* in, const float* weight,
               const float* bias, float* out, float* mean, float* rstd);

// d_in += the gradient by `in`; d_weight and d_bias are written.
void LayerNormBackward(std::size_t rows, std::size_t width, const float* d_out, const float* in,
                       const float* weight, const float* mean, const float* rstd, float* d_in,
                       float* d_weight, float* d_bias);

// out = gelu(in), in the tanh form of GPT-2.  `gate` keeps what the way back needs.
void Gelu(std::size_t n, const float* in, float* out, float* gate);
// d: the gradient by the output becomes that by the input.
void GeluBackward(std::size_t n, const float* in, const float* gate, float* d);

// scores (size x size) become probabilities over each row's past, 0 after the diagonal.
void CausalSoftmax(std::size_t size, float* scores);
// d_scores from d_probabilities, in place.
void CausalSoftmaxBackward(std::size_t size, const float* probabilities, float* d_scores);

// Mean cross entropy of rows of logits, in nats; logits become its gradient.
float CrossEntropy(std::size_t rows, std::size_t width, const std::uint8_t* targets, float* logits);

// Each row of `out` = bias, or bias + the row of `residual`.
void FillRows(std::size_t rows, std::size_t width, const float* bias, float* out);
void FillRows(std::size_t rows, std::size_t width, const float* bias, const float* residual,
              float* out);

// values *= by.
void Scale(std::size_t n, float by, float* values);

// sums = the sum of the rows.
void SumRows(std::size_t rows, std::size_t width, const float* in, float* sums);

float Exp(float x);
double NaturalLog(double x);  // x > 0 and normal.

}  // namespace muster
