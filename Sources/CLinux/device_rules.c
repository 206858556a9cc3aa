#define _GNU_SOURCE
#include "CLinuxProcess.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Registers: 1 the context, 2 the access, 3 the node's type, 4 its major and 5 its minor number, 6 for computing.
enum { rule_instructions_max = 8, frame_instructions = 8 };

static struct bpf_insn load(int target, short offset) {
    return (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = target, .src_reg = 1, .off = offset};
}

static struct bpf_insn compute(int operation, int target, int value) {
    return (struct bpf_insn){.code = BPF_ALU | operation | BPF_K, .dst_reg = target, .imm = value};
}

static struct bpf_insn copy(int target, int source) {
    return (struct bpf_insn){.code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = target, .src_reg = source};
}

// Skips the rest of a rule, whose length is not known yet, when the register differs.
static struct bpf_insn require(int target, int value) {
    return (struct bpf_insn){.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = target, .imm = value};
}

static const struct bpf_insn leave = {.code = BPF_JMP | BPF_EXIT};

static size_t add_rule(struct bpf_insn *program, const struct clinux_device_rule *rule) {
    size_t length = 0;
    program[length++] = require(3, (int)rule->type);
    program[length++] = copy(6, 2);
    program[length++] = compute(BPF_AND, 6, (int)~rule->access);
    program[length++] = require(6, 0);
    if (rule->major >= 0) program[length++] = require(4, (int)rule->major);
    if (rule->minor >= 0) program[length++] = require(5, (int)rule->minor);
    program[length++] = compute(BPF_MOV, 0, 1);
    program[length++] = leave;
    for (size_t at = 0; at < length; at++)
        if (program[at].code == (BPF_JMP | BPF_JNE | BPF_K)) program[at].off = (short)(length - at - 1);
    return length;
}

int clinux_restrict_devices(int group, const struct clinux_device_rule *rules, size_t count) {
    struct bpf_insn *program = calloc(frame_instructions + count * rule_instructions_max, sizeof *program);
    if (program == NULL) return -ENOMEM;
    size_t length = 0;
    program[length++] = load(2, 0);
    program[length++] = copy(3, 2);
    program[length++] = compute(BPF_AND, 3, 0xFFFF);
    program[length++] = compute(BPF_RSH, 2, 16);
    program[length++] = load(4, 4);
    program[length++] = load(5, 8);
    for (size_t index = 0; index < count; index++) length += add_rule(program + length, &rules[index]);
    program[length++] = compute(BPF_MOV, 0, 0);
    program[length++] = leave;

    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uint64_t)(uintptr_t)program;
    attributes.insn_cnt = (uint32_t)length;
    attributes.license = (uint64_t)(uintptr_t)"Apache-2.0";
    int loaded = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
    int error = errno;
    free(program);
    if (loaded < 0) return -error;

    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)group;
    attributes.attach_bpf_fd = (uint32_t)loaded;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    // Programs of groups above stay in force.
    attributes.attach_flags = BPF_F_ALLOW_MULTI;
    int result = (int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes);
    error = errno;
    close(loaded);
    return result < 0 ? -error : 0;
}
