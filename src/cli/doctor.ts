import type { Command } from 'commander';
import { formatBytes } from '../base/units.ts';
import { type DoctorReport, describeTorch, doctor } from '../runs/index.ts';
import { type CommonOptions, declare, json, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatFacts } from './table.ts';

export function doctorCommand(output: Output): Command {
  const command = declare('doctor', 'Say what this machine can do, and what would let it do more.', 'continuo doctor');
  return withOptions(command, 'json').action(async (options: CommonOptions) => {
    const report = await doctor();
    output.print(options.json ? json(report) : page(report, output));
  });
}

function page({ version, machine, kernels, torch, advice }: DoctorReport, { paint }: Output): string {
  const { python, gpus } = machine;
  const facts: [string, string][] = [
    ['continuo', version],
    ['machine', machine.platform],
    ['processor', `${machine.cpuModel}, ${machine.numCores} ${machine.numCores === 1 ? 'core' : 'cores'} to use`],
    ['instruction sets', machine.instructionSets.join(', ') || 'none known'],
    ['kernels', kernels.native ? paint.green(kernels.variant) : paint.yellow(`${kernels.variant} (slow)`)],
    ['memory', `${formatBytes(machine.freeMemoryBytes)} free of ${formatBytes(machine.memoryBytes)}`],
    ['disk here', machine.freeDiskBytes === undefined ? 'unknown' : `${formatBytes(machine.freeDiskBytes)} free`],
    ['Node.js', machine.node],
    ['C++ compiler', machine.compiler ?? 'none found'],
    ['Python', python ? `${python.version} (${python.command})` : 'none found; only needed for the PyTorch engine'],
    [
      'PyTorch engine',
      torch
        ? describeTorch(torch).join('\n')
        : 'none that works; continuo torch setup makes one, only needed for engine: torch',
    ],
    [
      'GPU',
      gpus.map((gpu) => `${gpu.name}, ${formatBytes(gpu.memoryBytes)}, driver ${gpu.driver}`).join('\n') ||
        'none found',
    ],
  ];
  return [
    formatFacts(facts.map(([name, value]) => [paint.dim(name), value])),
    ...advice.map((line) => `\n${paint.yellow('advice')}  ${line}`),
  ].join('\n');
}
