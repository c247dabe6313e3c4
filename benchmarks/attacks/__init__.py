"""What curation and gate are worth when customers are careless or hostile, on the default data.

    python -m benchmarks.attacks --json          # all scenarios, 5 seeds, 1,500 sentences
    python -m benchmarks.attacks --quick         # attacks on a night, 3 seeds, 200 sentences
    python -m benchmarks.attacks --method qlora  # sybil and trigger with the use case's own recipe

The sentences, their reviews and every person's rating are real; who rates which sentence is drawn,
and some of the 100 customers are made careless or hostile. Each sentence has 3 raters. All ways see
the same rows, and each result trains the same cheap learner (TF-IDF and logistic regression,
weighted), so that hundreds of trainings fit into minutes; its accuracy is on the holdout's
sentences, whose gold is the mean of about 20 people.

Scenarios, each described in its module: `poisoning` (votes that push a label), and attacks by 1, 5
or 20 of 100 customers, on the defaults as shipped and without the defence: `sybil`, `placement`,
`evidence`, `flood`, `forgetting`. Their figures:

    success      how far the attack comes, as its module says
    lost         accuracy on the holdout that it costs, of tonight's model; in [-1, 1]
    refused      share of nights that end as unusual feedback: nothing new is learned, and nights
                 wait for a person
    promoted     share of nights whose challenger the holdout would promote, at a first question
    …_without    the same without the defence
"""

from benchmarks.attacks.data import START, Data, load

__all__ = ["START", "Data", "load"]
