"""From what a file says to what it means, or to everything that is wrong with it.

Owns the order of the checks: names first, then each statement by itself, then what statements say together. What the
parts check stands in `checking_*` and `reachability`. Pure: files and presets come through the functions given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from accel.policy import nodes
from accel.policy.checked import Checked, PoolPlan
from accel.policy.checking_names import Names, collected
from accel.policy.checking_pools import pool_plan, purge_plan
from accel.policy.checking_statements import StatementChecker
from accel.policy.checking_tests import check_test
from accel.policy.document import Policy
from accel.policy.findings import Findings
from accel.policy.nodes import Place
from accel.policy.problems import PolicyError
from accel.policy.reachability import Reachability
from accel.policy.reads import reads_of
from accel.policy.vocabulary import PRESETS, Phase

_Blocks = dict[Phase, list[tuple[nodes.Statement, ...]]]


def check(policy: Policy, preset: Callable[[str], Policy | None], read_file: Callable[[str], str]) -> Checked:
    """Return a policy that will do; raises PolicyError with every problem.

    `preset` returns a shipped file by its name, `read_file` a text that the policy names: it raises OSError if that
    cannot be read, ValueError if it will not do.
    """
    sources = {policy.file: policy.lines}
    findings = Findings(sources)
    policies = [*_presets(policy, preset, findings), policy]
    sources |= {part.file: part.lines for part in policies}
    names = collected(policies, read_file, findings)
    pools = {pool.name.name: pool_plan(pool, findings) for part in policies for pool in part.pools}
    purge = purge_plan([block for part in policies for block in part.purges], names.acls, findings)
    blocks = _blocks(policies, findings)
    statements = StatementChecker(names, read_file, findings)
    _check_rules(policies, blocks, statements, names, findings)
    _check_tests(policy, pools, findings)
    if findings.problems:
        raise PolicyError(findings.problems, sources)
    phases = {phase: tuple(statement for block in blocks[phase] for statement in block) for phase in Phase}
    return Checked(
        file=policy.file,
        hosts=names.hosts,
        pools=pools,
        acls=names.acls,
        lists=names.lists,
        splits=names.splits,
        defs=names.defs,
        phases=phases,
        purge=purge,
        is_sealed=any(isinstance(found, nodes.Seal) for found in _every(phases[Phase.REQUEST])),
        texts=statements.texts,
        tests=policy.tests,
        reads={phase: reads_of(phases[phase], names) for phase in Phase},
        lines=policy.lines,
    )


def _presets(policy: Policy, preset: Callable[[str], Policy | None], findings: Findings) -> Iterator[Policy]:
    seen: dict[str, Place] = {}
    for use in policy.uses:
        found = preset(use.value) if use.value not in seen else None
        if use.value in seen:
            findings.again(use.place, f"the preset {use.value} is used", seen[use.value], "use it once")
        elif found is None:
            findings.unknown(use.place, "preset", use.value, PRESETS, "")
        else:
            yield found
        seen.setdefault(use.value, use.place)


def _blocks(policies: Sequence[Policy], findings: Findings) -> _Blocks:
    """Return each phase's blocks, in order; a second block of one phase in one file is a problem."""
    blocks: _Blocks = {phase: [] for phase in Phase}
    for policy in policies:
        first: dict[str, Place] = {}
        for block in policy.phases:
            if block.word in first:
                hint = "put all rules of a phase in one block, in the order in which they run"
                findings.again(block.place, f"there is a {block.word} block", first[block.word], hint)
            first.setdefault(block.word, block.place)
            blocks[Phase(block.word)].append(block.body)
    return blocks


def _check_rules(
    policies: Sequence[Policy], blocks: _Blocks, statements: StatementChecker, names: Names, findings: Findings
) -> None:
    for policy in policies:
        for definition in policy.defs:
            statements.definition(definition.name, definition.condition)
        for split in policy.splits:
            statements.split(split)
    reachability = Reachability(names, findings)
    for phase, bodies in blocks.items():
        for body in bodies:
            statements.check(body, phase)
            reachability.check(body)


def _check_tests(policy: Policy, pools: dict[str, PoolPlan], findings: Findings) -> None:
    for test in policy.tests:
        check_test(test, frozenset(pools), findings)


def _every(statements: Sequence[nodes.Statement]) -> Iterator[nodes.Statement]:
    left = list(statements)
    while left:
        statement = left.pop()
        yield statement
        if isinstance(statement, nodes.When):
            left += [*statement.body, *statement.otherwise]
