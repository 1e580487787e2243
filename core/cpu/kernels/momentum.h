// The rule of ApplyMomentum, which alone weights and weights of several ranks have in common, bit for bit.
#ifndef CORE_CPU_KERNELS_MOMENTUM_H_
#define CORE_CPU_KERNELS_MOMENTUM_H_

class MomentumRule {
 public:
  // Nesterov's rule looks a step ahead: rate (g + momentum v) in the place of rate v.
  MomentumRule(float rate, float momentum, bool use_nesterov)
      : momentum_(momentum), of_g_(use_nesterov ? rate : 0), of_v_(use_nesterov ? rate * momentum : rate) {}

  void apply(float gradient, float* velocity, float* weight) const {
    *velocity = momentum_ * *velocity + gradient;
    *weight -= of_g_ * gradient + of_v_ * *velocity;
  }

 private:
  float momentum_, of_g_, of_v_;
};

#endif  // CORE_CPU_KERNELS_MOMENTUM_H_
