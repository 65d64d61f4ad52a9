'''Rounds that travel on a framework's own channel: what the plug-ins for Flower, NVIDIA FLARE and others share.

A framework carries messages between a server and its clients, knows who of them is gone, and starts training. So a
round needs no port, no connection and no time limit of its own there: its messages are bytes that the plug-in puts into
the framework's messages. `steps` has the form of these messages. `coordinator` and `groups` are what runs at the
framework's server, `participant` what runs at each of its clients; `terms`, `seats` and `sealed` are what a participant
brings and keeps. PROTOCOL has the channel in section 15, Other channels.

Nothing here opens a socket, reads a clock of its own, or knows a framework. A plug-in for another framework is these
two functions, with the framework's own way to send:

    def secure_mean(framework, config, model):
        """At the server: one round. Gives the mean of what the clients contributed."""
        round_ = CarriedRound(config, framework.clients, clock=time.time)
        while steps := round_.steps():
            for client, step in steps.items():
                framework.send(client, {"steps": [step], "model": model})
            for client, reply in framework.replies():  # until all are there, or it has waited long enough
                if reply.error:
                    round_.lost(client, reply.error)
                for step in reply.steps:
                    round_.take(client, step)
            round_.close()
        for client, step in round_.endings().items():
            framework.send(client, {"steps": [step], "model": model})  # or with the next message to the client
        if isinstance(round_.outcome, RoundAborted):
            raise round_.outcome
        return round_.outcome.mean(config, round_.context).arrays

    def answer(message, context):
        """At a client: its answer to a message. Trains when a round asks for its input."""
        terms = CarriedTerms(name=context.name, clock=time.time, policy=context.policy)

        def contribute(offers):
            update, examples = context.train(message["model"])
            digest = digest_model(message["model"])
            return {
                offer.round_id: Contribution(update=update, weight=examples, model_digest=digest) for offer in offers
            }

        participant = CarriedParticipant(terms, context.states)  # states: a mapping that outlives this message
        return participant.answer(message["steps"], contribute)

The plug-in writes a step into the framework's messages as it likes: a round id, a name and a list of bytes. Where the
framework runs each message in another process, `states` must outlive the process. It is sealed; name a folder for its
keys and a file for the memory of released sums in the terms, or only coordinators that follow the protocol can be met.
'''

from secagg.lazy import exports

__all__, __getattr__, __dir__ = exports(
    __name__,
    {
        "secagg_client.carried.groups": "CarriedGroups",
        "secagg_client.carried.participant": "CarriedParticipant",
        "secagg_client.carried.coordinator": "CarriedRound",
        "secagg_client.carried.terms": "CarriedTerms",
        "secagg_client.participation.terms": "Contribution",
        "secagg_client.carried.steps": "Step",
    },
)
