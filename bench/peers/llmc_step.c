// llm.c's side of bench/gpt2.mjs: its model, its forward, backward and update, called on our tokens and batch shape (its own main() has
// them built in). train_gpt2.c is included from a checkout given to the compiler by -I, as its test_gpt2.c includes it.
// Usage: llmc_step MODEL.bin TOKENS.bin BATCH LENGTH STEPS SECONDS; TOKENS.bin holds int32 [batch, length + 1]. Prints one line of JSON.
#define TESTING
#include "train_gpt2.c"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double norm(const float* x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
  return sqrt(sum);
}

static long peak_kilobytes(void) {
  char line[256];
  long peak = 0;
  FILE* f = fopenCheck("/proc/self/status", "r");
  while (fgets(line, sizeof line, f))
    if (sscanf(line, "VmHWM: %ld", &peak) == 1) break;
  fclose(f);
  return peak;
}

int main(int argc, char** argv) {
  if (argc != 7) {
    fprintf(stderr, "llmc_step MODEL.bin TOKENS.bin BATCH LENGTH STEPS SECONDS\n");
    return 2;
  }
  const int B = atoi(argv[3]), T = atoi(argv[4]), steps = atoi(argv[5]);
  const double limit = atof(argv[6]);
  GPT2 model;
  gpt2_build_from_checkpoint(&model, argv[1]);
  int* tokens = (int*)mallocCheck((size_t)B * (T + 1) * sizeof(int));
  int* inputs = (int*)mallocCheck((size_t)B * T * sizeof(int));
  int* targets = (int*)mallocCheck((size_t)B * T * sizeof(int));
  FILE* f = fopenCheck(argv[2], "rb");
  freadCheck(tokens, sizeof(int), (size_t)B * (T + 1), f);
  fcloseCheck(f);
  for (int b = 0; b < B; b++)
    for (int t = 0; t < T; t++) {
      inputs[b * T + t] = tokens[b * (T + 1) + t];
      targets[b * T + t] = tokens[b * (T + 1) + t + 1];
    }
  double loss = 0, gradient_norm = 0, best = 1e30, begin = now();
  int timed = 0;
  for (int step = 0; step <= steps; step++) {
    const double start = now();
    gpt2_forward(&model, inputs, targets, B, T);
    gpt2_zero_grad(&model);
    gpt2_backward(&model);
    if (step == 0) gradient_norm = norm(model.grads_memory, model.num_parameters);
    gpt2_update(&model, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.0f, step + 1);
    const double took = now() - start;
    if (step == 0) loss = model.mean_loss;
    // The first step allocates and also takes the norm; it counts only when it took so long that this cannot matter.
    if (step > 0 || took > limit) {
      timed++;
      if (took < best) best = took;
    }
    if (timed > 0 && now() - begin > limit) break;
  }
  printf("\n{\"loss\": %.7g, \"norm\": %.7g, \"seconds\": %.6g, \"timedSteps\": %d, \"peakRssBytes\": %ld}\n", loss, gradient_norm, best,
         timed, peak_kilobytes() * 1024);
  return 0;
}
