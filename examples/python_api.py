"""The whole of the Python interface on the demonstration photographs; about a minute on two cores."""

import emofuse
from emofuse.metrics import concordance, mae

run = emofuse.evaluate(
    out="runs/demo",
    inference=emofuse.InferenceConfig(compute=emofuse.ComputeConfig(batch_size=4)),
    local=True,
)
print(run.read_metrics().schema.names)

equal = emofuse.EvaluationConfig(fusion=emofuse.FusionConfig(method="equal"))
again = emofuse.re_evaluate(run.address, out="runs/equal", evaluation=equal)

for each in (run, again):
    rows = each.read_fused().to_pandas().dropna(subset=["valence"])
    print(each.address, mae(rows.valence, rows.fused_valence), concordance(rows.valence, rows.fused_valence))

try:
    emofuse.evaluate("absent.parquet", local=True)
except emofuse.EmofuseError as error:
    print(type(error).__name__, error)
