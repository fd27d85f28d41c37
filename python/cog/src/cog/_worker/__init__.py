"""The worker: loads a model and runs its predictions for the ``coglet`` server.

``channel`` speaks the server's protocol, ``logs`` attributes what is printed, ``encode`` makes outputs JSON, ``model``
loads and describes the model, ``serial`` and ``concurrent`` run predictions of synchronous and asynchronous models.
"""
